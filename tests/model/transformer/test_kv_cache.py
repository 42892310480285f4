"""Text decoded token by token with the cache: equal to one pass over whole texts, for the work of one token."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.baselines.config import CnnLstm
from mmvideo.model.config import Block, Fusion, Sharing, VideoEncoder
from mmvideo.model.factory import build_model
from mmvideo.model.transformer.kv_cache import decode_step, empty_cache, prefill
from mmvideo.stream import Modality

CAUSAL = {"text": "causal"}
MODELS = {
    "mid": {},
    "early": {"fusion": Fusion("early", **CAUSAL), "scan": False},
    "late": {"fusion": Fusion("late", **CAUSAL)},
    "own norms": {"sharing": Sharing("norms", "norms"), "class_tokens": 1, "registers": 2},
    "own feed-forwards": {"sharing": Sharing("feed_forward", "feed_forward"), "registers": 1, "position": "learned"},
    "own layers": {
        "sharing": Sharing("nothing", "nothing"),
        "depths": {"text": 1, "video": 3},
        "fusion": Fusion("mid", 2, **CAUSAL),
    },
    "apart then shared": {"sharing": Sharing("nothing", "everything"), "position": "sincos"},
    "cross": {"fusion": Fusion("cross", 1, **CAUSAL), "sharing": Sharing("everything", "nothing"), "class_tokens": 1},
    "cross norms": {"fusion": Fusion("cross", 0, **CAUSAL), "sharing": Sharing("norms", "norms")},
    "post": {"block": Block("rms", order="post", qk_norm=True, soft_cap=3.0), "position": "learned_1d"},
    "special": {
        "block": Block(qk_norm=True, activation="swiglu", biases="qv", layer_scale=0.5, drop_path=0.3),
        "position": "sincos_3d",
    },
    "bare": {"block": Block("rms", biases="none", soft_cap=2.0), "position": "none"},
    "factorised": {"video_encoder": VideoEncoder(1, "class"), "position": "sincos_1d"},
    "without sound": {"fusion": Fusion("early", modalities=("video", "text"), **CAUSAL), "position": "sincos_2d"},
    "own without sound": {
        "fusion": Fusion("mid", 1, modalities=("video", "text"), **CAUSAL),
        "sharing": Sharing("nothing", "nothing"),
        "class_tokens": 1,
    },
    "narrow": {"fusion": Fusion("bottleneck", 1, modalities=("video", "audio"), **CAUSAL)},
}
"""Configs that cover every feature that text can meet."""

ALWAYS = ("mid", "own norms", "own layers", "cross", "post", "factorised")
"""The configs of the default test run."""

TEXTS = 8
"""Tokens of the longest text."""


@pytest.fixture(scope="module")
def stream(streams):
    """Two rows of clips of different lengths; one has no media, one no audio, one no text."""
    rows = [
        [streams.make_clip(1, text=8, hide_video=2), streams.make_clip(2, video=3, audio=0, text=3)],
        [
            streams.make_clip(3, video=0, audio=0, text=5),
            streams.make_clip(4, video=2, text=0),
            streams.make_clip(5, video=0, text=1),
        ],
    ]
    return jax.tree.map(jnp.asarray, streams.make_stream(rows, garbage=7))


@pytest.fixture
def changed(build):
    """Build a model with every weight changed from its initial value."""

    def make(**settings):
        backbone = build(**({"fusion": Fusion("mid", 2, 1, **CAUSAL)} | settings))
        graph, params, rest = nnx.split(backbone, nnx.Param, ...)
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        leaves = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
        backbone = nnx.merge(graph, jax.tree.unflatten(tree, leaves), rest)
        backbone.eval()
        return backbone

    return make


def texts_of(stream):
    """Return the text tokens of every clip `[B, E, T]`, and a mask of those that exist."""
    layout, base = stream.layout, 2 * stream.content["video"].shape[1]
    batch, slots = stream.clips.clip_index.shape
    text_tokens, there = np.zeros((batch, slots, TEXTS), np.int32), np.zeros((batch, slots, TEXTS), bool)
    for row, place in zip(*np.nonzero(layout.modality == Modality.TEXT), strict=True):
        at = row, int(layout.clip[row, place]), int(layout.grid[row, place, 2])
        text_tokens[at], there[at] = stream.content["text"][row, layout.source_index[row, place] - base], True
    return text_tokens, there


@nnx.jit
def whole(backbone, stream):
    """Return the top tokens of every text from one pass over everything."""
    features = backbone(stream)
    clips, place = jnp.arange(stream.clips.clip_index.shape[1]), jnp.arange(TEXTS)
    layout = features.layout
    own = (layout.modality == Modality.TEXT)[:, None, None] & (layout.clip[:, None, None] == clips[:, None, None])
    own &= layout.grid[:, None, None, :, 2] == place[:, None]
    return jnp.einsum("betl,bld->betd", own.astype(jnp.float32), features.top)


@nnx.jit
def piecewise(backbone, stream, text_tokens):
    """Return the same from two tokens in one step and the rest one by one."""
    seen = prefill(backbone, stream)
    batch, clips, count = text_tokens.shape
    place = jnp.broadcast_to(jnp.arange(count), text_tokens.shape)[:, None]
    text_tokens = text_tokens[:, None]
    nothing = jnp.zeros((batch, clips, 0), bool)
    top, new = decode_step(backbone, seen, empty_cache(seen, clips), text_tokens[..., :2], place[..., :2], nothing)
    written = tuple(kept.pad_to(count) for kept in new)

    def step(written, number):
        one, here = (jax.lax.dynamic_slice_in_dim(values, number, 1, axis=3) for values in (text_tokens, place))
        known = jnp.broadcast_to(jnp.arange(count) < number, (batch, clips, count))
        top, new = decode_step(backbone, seen, written, one, here, known)
        return tuple(old.update(more, number) for old, more in zip(written, new, strict=True)), top[:, 0, :, 0]

    _, rest = jax.lax.scan(step, written, jnp.arange(2, count))
    return jnp.concatenate([top[:, 0], jnp.moveaxis(rest, 0, 2)], axis=2)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            settings,
            id=name,
            marks=[] if name in ALWAYS else pytest.mark.slow(reason="compiles a pass for every length"),
        )
        for name, settings in MODELS.items()
    ],
)
def test_what_is_kept_gives_the_tokens_of_a_whole_pass(changed, stream, settings):
    backbone, (text_tokens, there) = changed(**settings), texts_of(stream)
    want, got = np.asarray(whole(backbone, stream)), np.asarray(piecewise(backbone, stream, jnp.asarray(text_tokens)))
    assert there.sum() == 17 and np.abs(want[there]).mean() > 0.1
    np.testing.assert_allclose(got[there], want[there], atol=1e-4)


@pytest.mark.slow(reason="compiles a pass for every length")
def test_half_precision_is_close(changed, stream):
    backbone, (text_tokens, there) = changed(compute="bfloat16"), texts_of(stream)
    got = piecewise(backbone, stream, jnp.asarray(text_tokens))
    assert got.dtype == jnp.bfloat16
    want, got = (np.asarray(tokens, np.float64)[there] for tokens in (whole(backbone, stream), got))
    assert np.abs(got - want).mean() < 0.02 * np.abs(want).mean()


def test_the_media_matter_only_to_their_own_clip(changed, stream):
    """Other pixels in one clip change the tokens of that clip only."""
    backbone, (text_tokens, _) = changed(), texts_of(stream)
    layout = stream.layout
    own = np.asarray(layout.source_index[0])[(layout.clip[0] == 1) & (layout.modality[0] == Modality.VIDEO)]
    other = stream.content | {"video": stream.content["video"].at[0, own].set(0)}
    before = piecewise(backbone, stream, jnp.asarray(text_tokens))
    after = piecewise(backbone, dataclasses.replace(stream, content=other), jnp.asarray(text_tokens))
    moved = np.abs(after - before).max(axis=(2, 3))
    assert moved[0, 1] > 1e-2
    moved[0, 1] = 0
    np.testing.assert_array_equal(moved, 0)


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_a_new_piece_costs_one_token(changed, stream):
    """One program runs for every token, with a small share of the work of a pass over everything."""
    backbone = changed(scan=False)
    graph, state = nnx.split(backbone)
    batch, clips = stream.clips.clip_index.shape
    seen = prefill(backbone, stream)
    fixed, form = jax.tree.flatten(seen)
    piece = jnp.zeros((batch, 1, clips, 1), jnp.int32)

    def step(state, fixed, written, number):
        keys, (count, kinds) = written, (written[0].shape[4], jax.tree.structure(empty_cache(seen, clips)))
        known = jnp.broadcast_to(jnp.arange(count) < number, (batch, clips, count))
        kept = jax.tree.unflatten(kinds, keys)
        seeing = jax.tree.unflatten(form, fixed)
        top, new = decode_step(nnx.merge(graph, state), seeing, kept, piece, piece + number, known)
        return top, jax.tree.leaves([old.update(more, number) for old, more in zip(kept, new, strict=True)])

    def room(slots):
        return jax.tree.leaves([kept.pad_to(slots) for kept in empty_cache(seen, clips)])

    jitted, written = jax.jit(step), room(TEXTS)
    for number in range(TEXTS):
        _, written = jitted(state, fixed, written, jnp.int32(number))
    assert jitted._cache_size() == 1, "nothing in the program depends on how much is written"
    one, longer = (flops(step, state, fixed, room(slots), jnp.int32(1)) for slots in (TEXTS, 4 * TEXTS))
    everything = flops(lambda state, stream: nnx.merge(graph, state)(stream).top, state, stream)
    # In a row of 40 places a whole pass works on all, a new piece of each of 4 clips on 4.
    assert 0 < one < everything / 8
    assert one < longer < 1.5 * one, "room for longer texts costs a little attention"


def test_who_cannot_write(build, streams, stream):
    with pytest.raises(ValueError, match="set model.fusion.text to causal"):
        prefill(build(), stream)
    cnn = build_model(CnnLstm(), streams.SPEC, rngs=nnx.Rngs(params=0, dropout=1))
    with pytest.raises(ValueError, match="needs model.kind transformer"):
        prefill(cnn, stream)
