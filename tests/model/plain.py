"""The transformer in plain numpy and float64: clip by clip, modality by modality, head by head."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.special import erf

from mmvideo.stream import MODALITIES


def plain_features(model, stream, weights, start):
    """Return the expected features: by row, slot and modality a list over the stages of `(tokens, class tokens)`.

    Args:
      model: a `MultimodalTransformer`, for its settings.
      stream: clips with at most one caption.
      weights: from `weights_of`.
      start: from `embedded`; what the tokens are when they enter the first layer is taken as given.
    """
    (x, turn), found = start, {}
    for row, slot in sorted({(r, s) for r, s in zip(*np.nonzero(stream.clips.clip_index >= 0), strict=True)}):
        clip = {}
        for kind, name in enumerate(MODALITIES):
            own = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == kind)
            if own.any():
                clip[name] = (x[row][own], None if turn is None else [part[row][own] for part in turn])
        for name, stages in run_clip(model, weights, clip).items():
            found[int(row), int(slot), name] = stages
    return found


def embedded(model, stream):
    """Return the embedded tokens and their rotation, float64."""
    device = jax.tree.map(jnp.asarray, stream)
    x = np.asarray(model.position.add(model.embed(device), device.layout), np.float64)
    turn = model.position.rotation(device.layout)
    return x, None if turn is None else [np.asarray(part, np.float64)[:, :, 0] for part in turn]


def weights_of(model):
    """Return the model's parameters, float64."""
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), nnx.to_pure_dict(nnx.state(model, nnx.Param)))


def run_clip(model, weights, clip):
    """Return the features of one clip at each stage, by modality."""
    config, extra = model.config, weights.get("extra", {})
    known, tokens, turns, count = model.spec.modalities, {}, {}, {}
    for name, (content, turn) in clip.items():
        number = known.index(name)
        added = [extra[kind][number] for kind in ("registers", "classes") if kind in extra]
        tokens[name] = np.concatenate([content, *added])
        turns[name], count[name] = turn, len(content)
    found = {name: [] for name in clip}
    for stage in model.stages:
        sharing = config.sharing.apart if stage.name == "apart" else config.sharing.fused
        narrow = [name for name in tokens if name in stage.fused]
        copies = {name: extra["bottlenecks"] for name in narrow}
        depth = max((config.depths or {}).values(), default=0) if stage.name == "apart" else 0
        for layer in range(max(stage.end - stage.first, depth)):
            own = {name: layer_weights(model, weights, stage, layer, name, sharing) for name in tokens}
            joined = {name: np.concatenate([tokens[name], copies.get(name, tokens[name][:0])]) for name in tokens}
            after = {name: run_layer(name, joined, own, turns, stage, config) for name in tokens}
            tokens = {name: after[name][: len(tokens[name])] for name in tokens}
            if narrow:
                mean = np.mean([after[name][len(tokens[name]) :] for name in narrow], axis=0)
                copies = dict.fromkeys(narrow, mean)
        for name in clip:
            last = weights.get("norms", {}).get(stage.name, {})
            last = last.get(name, last)
            normed = tokens[name] if config.block.order == "post" else norm(tokens[name], last, "", config.block)
            end = len(normed) - config.class_tokens
            found[name].append((normed[: count[name]], normed[end:]))
    return found


def layer_weights(model, weights, stage, layer, name, sharing):
    """Return the weights of one layer for a modality; None if it has fewer layers."""
    stack = weights["blocks"]
    if {"apart", "fused"} & set(stack):
        stack = stack["apart" if stage.name == "apart" else "fused"]
        apart = model.stages[0].end if model.stages[0].name == "apart" else 0
        layer += 0 if stage.name == "apart" else stage.first - apart
    else:
        layer += stage.first
    both = {key: value for key, value in stack.items() if not isinstance(value, dict)} | stack.get(name, {})
    count = {len(value) for value in both.values()}.pop()
    return {key: value[layer] for key, value in both.items()} if layer < count else None


def run_layer(name, tokens, own, turns, stage, config):
    """Compute one layer for the tokens of one modality of a clip."""
    block, mine, x = config.block, own[name], tokens[name]
    if mine is None:
        return x
    group = next(group for group in stage.groups if name in group)
    seen = [other for other in group if other in tokens and (other not in stage.causal or name in stage.causal)]
    q = heads(x, mine, turns[name], 0, block)
    k, v = [], []
    for other in seen:
        theirs = mine if stage.cross else own[other]
        k.append(heads(tokens[other], theirs, turns[other], 1, block))
        v.append(heads(tokens[other], theirs, None, 2, block))
    k, v = np.concatenate(k), np.concatenate(v)
    branch = np.zeros_like(x)
    for head in range(q.shape[1]):
        score = q[:, head] @ k[:, head].T / math.sqrt(q.shape[2])
        if block.soft_cap is not None:
            score = block.soft_cap * np.tanh(score / block.soft_cap)
        if name in stage.causal:
            # Those that are causal stand last, so what they see ends with themselves.
            score[np.triu(np.ones(score.shape, bool), len(k) - len(x) + 1)] = -np.inf
        share = np.exp(score - score.max(axis=1, keepdims=True))
        branch += share / share.sum(axis=1, keepdims=True) @ v[:, head] @ mine["out_kernel"][head]
    x = added(x, branch + mine.get("out_bias", 0), mine, "attention", block)
    inner = norm(x, mine, "feed_forward_", block) if block.order == "pre" else x
    up = inner @ mine["up_kernel"] + mine.get("up_bias", 0)
    if block.activation == "swiglu":
        gate = inner @ mine["gate_kernel"] + mine.get("gate_bias", 0)
        up = up * gate / (1 + np.exp(-gate))
    elif block.activation == "gelu":
        up = up * (1 + erf(up / math.sqrt(2))) / 2
    elif block.activation == "gelu_tanh":
        up = up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3))) / 2
    else:
        up = up / (1 + np.exp(-1.702 * up))
    return added(x, up @ mine["down_kernel"] + mine.get("down_bias", 0), mine, "feed_forward", block)


def heads(x, own, turn, which, block):
    """Return queries (0), keys (1) or values (2), `[n, N, H]`."""
    x = norm(x, own, "attention_", block) if block.order == "pre" else x
    made = np.einsum("ld,dnh->lnh", x, own["qkv_kernel"][:, which])
    if block.biases == "all":
        made = made + own["qkv_bias"][which]
    elif block.biases == "qv" and which != 1:
        made = made + own["qv_bias"][which // 2]
    if block.qk_norm and which < 2:
        made = norm(made, {"scale": own[("query_scale", "key_scale")[which]], "bias": 0}, "", block)
    if turn is not None:
        # Extra tokens behind those of the clip don't turn.
        count, half = len(turn[0]), made.shape[-1] // 2
        cosine, sine = (part[:, None] for part in turn)
        a, b = made[:count, :, :half].copy(), made[:count, :, half:].copy()
        made[:count] = np.concatenate([a * cosine - b * sine, a * sine + b * cosine], axis=-1)
    return made


def added(x, branch, own, name, block):
    """Return the residual stream after a branch."""
    x = x + branch * own.get(f"{name}_gamma", 1)
    return norm(x, own, f"{name}_", block) if block.order == "post" else x


def norm(x, own, prefix, block):
    """Layer norm or RMS norm over the last axis."""
    if block.norm == "rms":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + block.epsilon) * own[f"{prefix}scale"]
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + block.epsilon)
    return normed * own[f"{prefix}scale"] + own[f"{prefix}bias"]
