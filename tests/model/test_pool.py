"""Pooling to one vector per clip, against plain numpy in float64."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import AttentionPooling
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import TOGETHER, Stage
from mmvideo.model.pool import Pooler, pool
from mmvideo.stream import MODALITIES

WIDTH, HEADS, SLOTS = 12, 3, 4


@pytest.fixture(scope="module")
def features(streams):
    """Two taps over two rows: a whole clip and a mute one, and one of text alone; padding is not a number."""
    rows = [[streams.make_clip(1), streams.make_clip(2, audio=0)], [streams.make_clip(3, video=0, audio=0)]]
    stream = streams.make_stream(rows)
    draw = np.random.default_rng(0)
    taps = draw.normal(size=(2, *stream.layout.modality.shape, WIDTH)).astype(np.float32)
    taps[:, ~stream.layout.is_token] = np.nan
    classes = draw.normal(size=(2, 2, SLOTS, 3, 2, WIDTH)).astype(np.float32)
    stages = (Stage(0, 1, TOGETHER), Stage(1, 2, TOGETHER))
    layout = jax.tree.map(jnp.asarray, stream.layout)
    return Features(tuple(jnp.asarray(taps)), layout, tuple(jnp.asarray(classes)), None, stages, MODALITIES)


def own(features, tap, row, slot, group):
    """Return a clip's tokens of some modalities, float64."""
    kinds = [MODALITIES.index(name) for name in group]
    member = (features.layout.clip[row] == slot) & np.isin(features.layout.modality[row], kinds)
    return np.asarray(features.taps[tap][row], np.float64)[np.asarray(member)]


CLIPS = [(0, 0, ("video", "audio")), (0, 1, ("video", "audio")), (1, 0, ("text",)), (0, 1, MODALITIES)]


@pytest.mark.parametrize(("row", "slot", "group"), CLIPS)
def test_mean(features, row, slot, group):
    pooled, present = Pooler("mean", WIDTH, HEADS, rngs=nnx.Rngs(0))(features, 1, group, SLOTS)
    np.testing.assert_allclose(pooled[row, slot], own(features, 1, row, slot, group).mean(0), atol=1e-6)
    np.testing.assert_array_equal(present, pool(features.taps[1], features.layout, group, SLOTS)[1])
    assert bool(present[row, slot]) == (slot != 1)


@pytest.mark.parametrize(("row", "slot", "group"), CLIPS)
def test_class_tokens_are_averaged_over_the_modalities_that_a_clip_has(features, row, slot, group):
    pooled, present = Pooler("class", WIDTH, HEADS, rngs=nnx.Rngs(0))(features, 1, group, SLOTS)
    has = [name for name in group if len(own(features, 1, row, slot, (name,)))]
    want = np.asarray(features.classes[1], np.float64)[row, slot, [MODALITIES.index(name) for name in has]].mean((0, 1))
    np.testing.assert_allclose(pooled[row, slot], want, atol=1e-6)
    assert bool(present[row, slot]) == (has == list(group))
    assert (np.asarray(pooled)[1, 1:] == 0).all()


@pytest.mark.parametrize(("row", "slot", "group"), CLIPS)
def test_the_last_token_is_that_of_the_clip(features, row, slot, group):
    pooled, present = Pooler("last", WIDTH, HEADS, rngs=nnx.Rngs(0))(features, 1, group, SLOTS)
    tokens = own(features, 1, row, slot, group)
    np.testing.assert_allclose(pooled[row, slot], tokens[-1] if len(tokens) else 0, atol=1e-6)
    assert (np.asarray(pooled)[1, 1:] == 0).all()


@pytest.mark.parametrize(
    "settings", [AttentionPooling(), AttentionPooling("gelu_tanh", 20, 1e-2), AttentionPooling("gelu_quick")], ids=str
)
@pytest.mark.parametrize(("row", "slot", "group"), CLIPS)
def test_attention_pooling_is_siglips_head(features, row, slot, group, settings):
    pooler = Pooler("map", WIDTH, HEADS, settings, rngs=nnx.Rngs(1))
    state = nnx.state(pooler)
    pooler = nnx.merge(nnx.graphdef(pooler), jax.tree.map(_noisy, state))
    pooled, present = jax.jit(lambda features: pooler(features, 0, group, SLOTS))(features)
    part = {name: np.asarray(leaf, np.float64) for name, leaf in _flat(pooler.attention)}
    np.testing.assert_allclose(
        pooled[row, slot], attention_pool(part, own(features, 0, row, slot, group), settings), atol=1e-5
    )
    assert bool(present[row, slot]) == (slot != 1)
    assert (np.asarray(pooled)[1, 1:] == 0).all()


GELU = {
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_quick": lambda x: x / (1 + math.exp(-1.702 * x)),
}


def attention_pool(part, tokens, settings):
    """Compute one query over a clip's tokens, head by head."""

    def dense(name, x):
        return x @ part[f"{name}.kernel"] + part[f"{name}.bias"]

    head = WIDTH // HEADS
    q, k, v = dense("query", part["probe"]), dense("key", tokens), dense("value", tokens)
    mixed = []
    for first in range(0, WIDTH, head):
        mine = slice(first, first + head)
        weights = np.exp(k[:, mine] @ q[mine] / math.sqrt(head))
        mixed.append(weights @ v[:, mine] / weights.sum())
    y = dense("out", np.concatenate(mixed))
    normed = (y - y.mean()) / np.sqrt(y.var() + settings.epsilon) * part["norm.scale"] + part["norm.bias"]
    inner = dense("up", normed)
    assert len(inner) == (settings.feed_forward or 4 * WIDTH)
    return y + dense("down", np.array([GELU[settings.activation](x) for x in inner]))


def _noisy(leaf):
    """Return a parameter changed from its initial value, so that biases and scales matter."""
    return leaf + 0.1 * np.random.default_rng(leaf.size).normal(size=leaf.shape).astype(np.float32)


def _flat(module):
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(module))):
        yield ".".join(str(key.key) for key in path), leaf


def test_gradients_are_finite_where_clips_are_absent(features):
    for kind in ("mean", "class", "map", "last"):
        pooler = Pooler(kind, WIDTH, HEADS, rngs=nnx.Rngs(0))

        def loss(taps, classes, pooler=pooler):
            changed = dataclasses.replace(features, taps=taps, classes=classes)
            return jnp.square(pooler(changed, 0, ("video", "audio"), SLOTS)[0]).sum()

        gradients = jax.grad(loss, argnums=(0, 1))(features.taps, features.classes)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_wrong_poolers_are_refused(features):
    with pytest.raises(ValueError, match="'max' is unknown: choose one of mean, class, map"):
        Pooler("max", WIDTH, HEADS, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="not a multiple of the 5 heads"):
        Pooler("map", WIDTH, 5, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="smell"):
        Pooler("map", WIDTH, HEADS, rngs=nnx.Rngs(0))(features, 0, ("smell",), SLOTS)
    without = dataclasses.replace(features, classes=tuple(tap[:, :, :, :0] for tap in features.classes))
    with pytest.raises(ValueError, match="set model.class_tokens"):
        Pooler("class", WIDTH, HEADS, rngs=nnx.Rngs(0))(without, 0, ("video",), SLOTS)
