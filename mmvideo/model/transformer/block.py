"""Transformer layers, stacked along a first axis and scanned over it.

A layer is `x + attention(norm(x))`, then `x + feed_forward(norm(x))` (Vaswani et al. 2017; the norm first as in Xiong
et al. 2020, and ViT, Dosovitskiy et al. 2021, eq. 2 and 3), with the choices of `config.Block`. All layers are one
stack `[depth, ...]`, so the program of a stage is compiled once, whatever its depth.

This module holds the weights of a stack and the operations of one layer on one row; `run_layers` combines rows and
layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.config import Block, ModelDims
from mmvideo.model.fusion.gather import PackedRows
from mmvideo.model.layers import fp8
from mmvideo.model.layers.basic import ACTIVATIONS, parameter, xavier
from mmvideo.model.layers.low_rank import LORA, adapted
from mmvideo.model.layers.norm import norm, select_by_modality
from mmvideo.model.layers.remat import named
from mmvideo.model.positions.schemes import Rotation, rotate
from mmvideo.model.sharding import head_parts

LayerParams = dict[str, Any]
"""The weights of one layer, or of several stacked, by name; those that a modality owns are nested under its name."""

PER_MODALITY: dict[str, tuple[str, ...]] = {
    "everything": (),
    "norms": ("attention_norm", "feed_forward_norm"),
    "feed_forward": ("feed_forward_norm", "feed_forward"),
    "nothing": ("attention_norm", "attention", "feed_forward_norm", "feed_forward"),
}
"""The submodules of a layer that each modality owns, for each value of `config.Sharing`."""

QKV, Q, KV = slice(0, 3), slice(0, 1), slice(1, 3)
"""Slices of queries, keys and values that `qkv_projection` can compute."""


class TransformerStack(nnx.Module):
    """The weights of a stack of layers.

    Weights are Xavier-uniform. Those that write to the residual stream are divided by `sqrt(2 depth)`, so that the
    variance of the stream does not grow with depth (GPT-2, Radford et al. 2019, section 2.3).

    Args:
      dims: the sizes; `depth` is that of the whole model.
      block: architecture of a layer.
      count: layers of this stack; None: the model's depth.
      sharing: weights that the modalities share, a key of `PER_MODALITY`.
      modalities: owners of the weights that are not shared; `counts` gives each its own number of layers.

    Raises:
      ValueError: the block is quantized, and the package for it is missing.
    """

    def __init__(
        self,
        dims: ModelDims,
        block: Block = Block(),
        count: int | None = None,
        sharing: str = "everything",
        modalities: tuple[str, ...] = (),
        counts: Mapping[str, int] | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        if block.quantized is not None:
            fp8.check_qwix()
        count = dims.depth if count is None else count
        self.owners = modalities if PER_MODALITY[sharing] else ()
        for submodule, make in SUBMODULES.items():
            if submodule not in PER_MODALITY[sharing]:
                for name, value in make(dims, block, count, rngs).items():
                    setattr(self, name, value)
        for owner in self.owners:
            own: dict[str, nnx.Param] = {}
            for submodule in PER_MODALITY[sharing]:
                own |= SUBMODULES[submodule](dims, block, (counts or {}).get(owner, count), rngs)
            setattr(self, owner, nnx.Dict(own))

    def layers(self) -> LayerParams:
        """Return the weights of all layers, stacked, with their low-rank updates if there are any (`lora.add_lora`)."""
        weights = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        factors = weights.pop(LORA, None)
        return weights if factors is None else adapted(weights, factors, self.lora_scale)


def _norm_weights(name: str, dims: ModelDims, block: Block, count: int) -> dict[str, nnx.Param]:
    weights = {f"{name}_scale": parameter(jnp.ones((count, dims.width)), "layers", "norm")}
    if block.norm == "layer":
        weights[f"{name}_bias"] = parameter(jnp.zeros((count, dims.width)), "layers", "norm")
    return weights


def _attention_norm(dims: ModelDims, block: Block, count: int, rngs: nnx.Rngs) -> dict[str, nnx.Param]:
    return _norm_weights("attention", dims, block, count)


def _feed_forward_norm(dims: ModelDims, block: Block, count: int, rngs: nnx.Rngs) -> dict[str, nnx.Param]:
    return _norm_weights("feed_forward", dims, block, count)


def _attention(dims: ModelDims, block: Block, count: int, rngs: nnx.Rngs) -> dict[str, nnx.Param]:
    # Two branches per layer write to the stream: with depth 12 their weights start at 1 / sqrt(24) of the others.
    width, heads, head, damped = dims.width, dims.heads, dims.head, (2 * dims.depth) ** -0.5
    qkv = xavier(rngs, (count, width, 3, heads, head), width, width)
    out = damped * xavier(rngs, (count, heads, head, width), width, width)
    weights = {"qkv_kernel": parameter(qkv, "layers", "embed", "qkv", "heads", "head")}
    if block.biases != "none":
        name, biased = ("qkv_bias", 3) if block.biases == "all" else ("qv_bias", 2)
        weights[name] = parameter(jnp.zeros((count, biased, heads, head)), "layers", "qkv", "heads", "head")
    if block.qk_norm:
        weights["query_scale"] = parameter(jnp.ones((count, head)), "layers", "head")
        weights["key_scale"] = parameter(jnp.ones((count, head)), "layers", "head")
    weights["out_kernel"] = parameter(out, "layers", "heads", "head", "embed")
    return weights | _ending("attention", "out", dims, block, count)


def _feed_forward(dims: ModelDims, block: Block, count: int, rngs: nnx.Rngs) -> dict[str, nnx.Param]:
    width, inner, damped = dims.width, dims.feed_forward, (2 * dims.depth) ** -0.5
    weights = {}
    for name in ("gate", "up") if block.activation == "swiglu" else ("up",):
        up = xavier(rngs, (count, width, inner), width, inner)
        weights[f"{name}_kernel"] = parameter(up, "layers", "embed", "mlp")
        if block.biases != "none":
            weights[f"{name}_bias"] = parameter(jnp.zeros((count, inner)), "layers", "mlp")
    down = damped * xavier(rngs, (count, inner, width), inner, width)
    weights["down_kernel"] = parameter(down, "layers", "mlp", "embed")
    return weights | _ending("feed_forward", "down", dims, block, count)


def _ending(branch: str, last: str, dims: ModelDims, block: Block, count: int) -> dict[str, nnx.Param]:
    """Build the bias of a branch's last map and the factor of the branch's output."""
    weights, shape = {}, (count, dims.width)
    if block.biases != "none":
        weights[f"{last}_bias"] = parameter(jnp.zeros(shape), "layers", "norm")
    if block.layer_scale is not None:
        weights[f"{branch}_gamma"] = parameter(jnp.full(shape, block.layer_scale), "layers", "norm")
    return weights


SUBMODULES = {
    "attention_norm": _attention_norm,
    "attention": _attention,
    "feed_forward_norm": _feed_forward_norm,
    "feed_forward": _feed_forward,
}
"""Builders of the weights of each submodule for `count` layers."""


def layer_params_for(layer: LayerParams, modalities: tuple[str, ...]) -> LayerParams:
    """Return the weights of a layer for a row of these modalities: the shared ones and their own.

    The weights of a single modality are merged into one level. A row of several modalities can own norms only; these
    are stacked to `[m, D]`.
    """
    # Example: sharing "norms", row (video, audio): {qkv_kernel, …, attention_scale [2, D], feed_forward_scale [2, D]}.
    # Sharing "nothing", row (audio,): {qkv_kernel, …, attention_scale [D], …}, all of them audio's.
    shared = {name: value for name, value in layer.items() if not isinstance(value, dict)}
    own = [layer[name] for name in modalities if name in layer]
    if len(own) > 1:
        return shared | {name: jnp.stack([weights[name] for weights in own]) for name in own[0]}
    return shared | (own[0] if own else {})


def apply_norm(
    x: Float[Array, "B S D"], weights: LayerParams, branch: str, rows: PackedRows, block: Block
) -> Float[Array, "B S D"]:
    """Return `x` after the norm of a branch, `attention` or `feed_forward`."""
    scale, bias = weights[f"{branch}_scale"], weights.get(f"{branch}_bias")
    if scale.ndim == 2:
        kinds, owners = rows.layout.modality, rows.modalities
        scale = select_by_modality(scale, kinds, owners)
        bias = None if bias is None else select_by_modality(bias, kinds, owners)
    return norm(x, block, scale, bias)


def pre_norm(
    x: Float[Array, "B S D"], weights: LayerParams, branch: str, rows: PackedRows, block: Block
) -> Float[Array, "B S D"]:
    """Return the input of a branch: `x`, normed if the norm comes first."""
    return apply_norm(x, weights, branch, rows, block) if block.order == "pre" else x


def qkv_projection(
    x: Float[Array, "B S D"], weights: LayerParams, rotation: Rotation | None, block: Block, wanted: slice = QKV
) -> tuple[Float[Array, "B S N H"], ...]:
    """Return queries, keys and values, or the `wanted` of them, after optional norm and rotation to their positions."""
    # "blcnh" leaves the product in its natural order: no transposition of the largest activation.
    made = _product("bld,dcnh->blcnh", x, weights["qkv_kernel"][:, wanted], block)
    bias = _qkv_bias(weights, block)
    if bias is not None:
        made = _plus(made, bias[wanted].astype(x.dtype))
    made = named(made, "query_key_value")
    parts = []
    for place, name in enumerate(("query", "key", "value")[wanted]):
        part = made[:, :, place]
        if block.qk_norm and name != "value":
            part = norm(part, block, weights[f"{name}_scale"], 0.0)
        parts.append(part if rotation is None or name == "value" else rotate(part, rotation))
    return tuple(parts)


def _qkv_bias(weights: LayerParams, block: Block) -> Float[Array, "3 N H"] | None:
    """The bias of queries, keys and values; that of keys is zero where only the others have one."""
    if block.biases == "none":
        return None
    if block.biases == "all":
        return weights["qkv_bias"]
    query, value = weights["qv_bias"]
    return jnp.stack([query, jnp.zeros_like(query), value])


@jax.named_scope("qkv_bias")
def _plus(made: Float[Array, "B L c N H"], bias: Float[Array, "c N H"]) -> Float[Array, "B L c N H"]:
    """The sum of both.

    As a vector of all the numbers of a token cuBLAS adds a bias while it writes the product; of three axes XLA makes an
    array of the product's size first. Where heads are split over devices, their axis must stay.
    """
    if head_parts(bias.shape[1]) > 1:
        return made + bias
    return (made.reshape(*made.shape[:2], -1) + bias.reshape(-1)).reshape(made.shape)


def output_projection(mixed: Float[Array, "B S N H"], weights: LayerParams, block: Block) -> Float[Array, "B S D"]:
    """Return the output of the attention branch, from the mixed values of its heads."""
    out = _product("blnh,nhd->bld", mixed, weights["out_kernel"], block)
    return named(_biased(out, weights, "out"), "attention_out")


def feed_forward(x: Float[Array, "B S D"], weights: LayerParams, block: Block) -> Float[Array, "B S D"]:
    """Return the output of the feed-forward branch."""
    activation = ACTIVATIONS[block.activation]
    inner = named(_dense(x, weights, "up", block), "inner")
    gate = named(_dense(x, weights, "gate", block), "inner") if block.activation == "swiglu" else None
    with jax.named_scope("activation"):
        inner = activation(inner) if gate is None else activation(gate) * inner
    return named(_dense(inner, weights, "down", block), "feed_forward_out")


def residual_add(
    x: Float[Array, "B S D"],
    branch: Float[Array, "B S D"],
    weights: LayerParams,
    name: str,
    rows: PackedRows,
    block: Block,
    kept: Float[Array, "B E"] | None,
) -> Float[Array, "B S D"]:
    """Return the residual stream after a branch.

    Args:
      x: the stream before the branch.
      branch: output of the branch.
      weights: weights of the row.
      name: `attention` or `feed_forward`.
      rows: the row, which gives the clip of each token.
      block: architecture of the layer.
      kept: factor of the branch for each clip, 0 where it is skipped; None: 1 for all.
    """
    if block.layer_scale is not None:
        branch = branch * weights[f"{name}_gamma"].astype(x.dtype)
    if kept is not None:
        # Padding has clip -1; it takes the factor of clip 0, which changes nothing that is read.
        factor = jnp.take_along_axis(kept, jnp.maximum(rows.layout.clip, 0), axis=1)
        branch = branch * factor[..., None].astype(x.dtype)
    x = x + branch
    return apply_norm(x, weights, name, rows, block) if block.order == "post" else x


def _dense(x: Array, weights: LayerParams, name: str, block: Block) -> Array:
    return _biased(_product("bli,io->blo", x, weights[f"{name}_kernel"], block), weights, name)


def _product(subscripts: str, x: Array, kernel: Array, block: Block) -> Array:
    """Return `jnp.einsum` of `x` and a weight, in the dtype of `x`."""
    kernel = kernel.astype(x.dtype)
    return jnp.einsum(subscripts, x, kernel) if block.quantized is None else fp8.product(subscripts, x, kernel)


def _biased(x: Array, weights: LayerParams, name: str) -> Array:
    bias = weights.get(f"{name}_bias")
    return x if bias is None else x + bias.astype(x.dtype)
