"""Every fusion, sharing and block against the transformer in plain numpy and float64, in values and gradients."""

import dataclasses
import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Block, Fusion, Sharing
from mmvideo.stream import MODALITIES

CASES = {
    "mid": dict(fusion=Fusion("mid", 2, 1), class_tokens=1, registers=1),
    "mid, own norms": dict(sharing=Sharing("norms", "norms"), class_tokens=2, block=Block(epsilon=1e-3)),
    "mid, own feed-forward": dict(sharing=Sharing("feed_forward", "feed_forward"), registers=1),
    "mid, own layers, then all shared": dict(
        fusion=Fusion("mid", 2), sharing=Sharing("nothing"), depths={"video": 1, "text": 3}, class_tokens=1
    ),
    "mid, nothing shared": dict(sharing=Sharing("nothing", "nothing"), block=Block(biases="qv", layer_scale=0.5)),
    "mid, own layers, then own norms": dict(
        fusion=Fusion("mid", 1), sharing=Sharing("nothing", "norms"), block=Block(norm="rms", biases="none")
    ),
    "late, own feed-forward": dict(fusion=Fusion("late"), sharing=Sharing("feed_forward"), position="none"),
    "causal": dict(
        fusion=Fusion("mid", 2, 1, text="causal"),
        sharing=Sharing("nothing", "feed_forward"),
        class_tokens=1,
        registers=1,
    ),
    "causal, shared": dict(fusion=Fusion("mid", 1, text="causal"), class_tokens=1, block=Block(qk_norm=True)),
    "video with text": dict(
        fusion=Fusion("mid", 1, modalities=("video", "text")), block=Block(order="post", activation="gelu_quick")
    ),
    "video with text, own feed-forward": dict(
        fusion=Fusion("early", modalities=("video", "text")),
        sharing=Sharing("nothing", "feed_forward"),
        block=Block(qk_norm=True, norm="rms", activation="swiglu"),
    ),
    "bottleneck": dict(fusion=Fusion("bottleneck", 1, bottlenecks=2), class_tokens=1),
    "bottleneck, nothing shared": dict(
        fusion=Fusion("bottleneck", 1, bottlenecks=3),
        sharing=Sharing("nothing", "nothing"),
        class_tokens=1,
        position="none",
    ),
    "bottleneck of two, own norms": dict(
        fusion=Fusion("bottleneck", 0, bottlenecks=1, modalities=("audio", "video"), text="causal"),
        sharing=Sharing("everything", "norms"),
        block=Block(soft_cap=1.0),
    ),
    "bottleneck, own feed-forward": dict(
        fusion=Fusion("bottleneck", 2), sharing=Sharing("norms", "feed_forward"), block=Block(activation="gelu_tanh")
    ),
    "cross": dict(fusion=Fusion("cross", 1), sharing=Sharing("everything", "nothing"), class_tokens=1),
    "cross, own norms": dict(
        fusion=Fusion("cross", 1, text="causal"), sharing=Sharing("norms", "norms"), block=Block(layer_scale=2.0)
    ),
    "cross, all shared": dict(fusion=Fusion("cross", 2), block=Block(order="post", norm="rms", activation="swiglu")),
}


@pytest.fixture(scope="module")
def plain():
    """The module `plain.py` beside this file."""
    spec = importlib.util.spec_from_file_location("plain", Path(__file__).parents[1] / "plain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stream(streams):
    """Clips that have all modalities, two of them, or one, packed into two rows."""
    make = streams.make_clip
    first = [make(1), make(2, audio=0, text=3)]
    return streams.make_stream([first, [make(3, text=0, video=4), make(4, video=0, audio=0), make(5, audio=2)]])


@jax.jit
def measured(graph_and_state, stream, weight):
    """Compare taps and class tokens, and for every parameter the gradient of their weighted sum."""
    graph, params, rest = graph_and_state

    def loss(params):
        features = nnx.merge(graph, params, rest)(stream)
        real = jnp.where(stream.layout.is_token[..., None], jnp.stack(features.taps), 0)
        classes = jnp.where(stream.clips.present[..., None, None], jnp.stack(features.classes), 0)
        return (real * weight["taps"]).sum() + (classes * weight["classes"]).sum(), (real, classes)

    return jax.value_and_grad(loss, has_aux=True)(params)


def noisy(model, seed=0):
    """Return the model with every weight changed from its initial value, so that scales, biases and factors matter."""
    draw = np.random.default_rng(seed)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    moved = jax.tree.map(lambda leaf: leaf + 0.2 * draw.normal(size=leaf.shape).astype(np.float32), params)
    return nnx.merge(graph, moved, rest)


def weights_for(stream, model):
    """Return random weights of taps and class tokens."""
    draw = np.random.default_rng(1)
    width, stages = 24, len(model.stages)
    rows, length = stream.layout.modality.shape
    return {
        "taps": draw.normal(size=(stages, rows, length, width)).astype(np.float32),
        "classes": draw.normal(size=(stages, *stream.clips.present.shape, model.config.class_tokens, width)).astype(
            np.float32
        ),
    }


def answers(found, stream, model):
    """Return the plain features as arrays of the model's shapes, zero in padding."""
    weight = weights_for(stream, model)
    taps, classes = (np.zeros(weight[name].shape) for name in ("taps", "classes"))
    for (row, slot, name), stages in found.items():
        kind = MODALITIES.index(name)
        own = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == kind)
        for number, (tokens, own_classes) in enumerate(stages):
            taps[number, row, own] = tokens
            classes[number, row, slot, kind] = own_classes
    return taps, classes


@pytest.mark.parametrize("case", CASES)
def test_features_and_gradients_are_those_of_the_plain_transformer(build, plain, stream, case):
    model = noisy(build(**CASES[case]))
    model.eval()
    weight = weights_for(stream, model)
    (_, (taps, classes)), gradient = measured(nnx.split(model, nnx.Param, ...), stream, weight)
    start, weights = plain.embedded(model, stream), plain.weights_of(model)
    want_taps, want_classes = answers(plain.plain_features(model, stream, weights, start), stream, model)
    np.testing.assert_allclose(taps, want_taps, atol=3e-5)
    np.testing.assert_allclose(classes, want_classes, atol=3e-5)

    def loss(weights):
        taps, classes = answers(plain.plain_features(model, stream, weights, start), stream, model)
        return (taps * weight["taps"]).sum() + (classes * weight["classes"]).sum()

    check_gradient(loss, weights, nnx.to_pure_dict(gradient))


def check_gradient(loss, weights, gradient, step=1e-4):
    """Return the slope along random directions, by central differences of the plain float64 loss.

    One direction for each name of a parameter: those of all stacks, stages and modalities move together.
    """
    draw, named = np.random.default_rng(2), {}
    checked = {name: weights[name] for name in ("blocks", "extra", "norms") if name in weights}
    for path, leaf in jax.tree_util.tree_leaves_with_path(checked):
        got = functools.reduce(lambda node, key: node[key.key], path, gradient)
        direction = draw.normal(size=leaf.shape) / np.sqrt(leaf.size)
        named.setdefault((path[0].key, path[-1].key), []).append((leaf, leaf.copy(), direction, got))
    assert len(named) > 6
    for name, moved in named.items():
        slopes = []
        for sign in (1, -1, 0):
            for leaf, value, direction, _ in moved:
                leaf[...] = value + sign * step * direction
            slopes.append(sign * loss(weights) if sign else 0)
        want = sum(slopes) / (2 * step)
        got = sum((np.asarray(got, np.float64) * direction).sum() for _, _, direction, got in moved)
        assert abs(got - want) < 2e-3 + 1e-3 * abs(want), name


@pytest.mark.parametrize("case", ["bottleneck, nothing shared", "causal", "mid, own norms"])
def test_what_stands_in_padding_is_irrelevant(build, streams, case):
    model = noisy(build(**CASES[case]))
    rows = [[streams.make_clip(1), streams.make_clip(2, audio=0, text=3)], [streams.make_clip(3, text=0, video=4)]]
    clean, dirty = streams.make_stream(rows), streams.make_stream(rows, garbage=7)
    real = dirty.layout.is_token
    for field, junk in (("source_index", 3), ("time", 1e3), ("grid", 5)):
        values = np.array(getattr(dirty.layout, field))
        values[~real] = junk
        dirty = dataclasses.replace(dirty, layout=dataclasses.replace(dirty.layout, **{field: values}))
    split, weight = nnx.split(model, nnx.Param, ...), weights_for(clean, model)
    for a, b in zip(*(jax.tree.leaves(measured(split, each, weight)) for each in (clean, dirty)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("shared", ["norms", "feed_forward", "nothing"])
@pytest.mark.parametrize("scheme", ["mid", "bottleneck"])
def test_own_weights_cost_no_more_than_shared_ones(build, streams, shared, scheme):
    """The same products for each token, in the row of its modality: nothing is computed for tokens of others."""
    clips = [streams.make_clip(seed, audio=6, text=6) for seed in (1, 2)]
    stream = streams.make_stream([clips], length=36, budget=12, slots=2)

    def operations(sharing):
        model = build(
            fusion=Fusion(scheme, 1), sharing=Sharing(sharing, sharing), scan=False, width=48, feed_forward=192
        )
        graph, state = nnx.split(model)
        run = jax.jit(lambda state, stream: nnx.merge(graph, state)(stream).top)
        return run.lower(state, jax.tree.map(jnp.asarray, stream)).cost_analysis()["flops"]

    assert operations(shared) < 1.02 * operations("everything")
