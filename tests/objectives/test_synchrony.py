"""Synchrony: against a slow reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Fusion
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import stages
from mmvideo.objectives import Synchrony

CLIPS = [("video", "audio"), ("video", "audio", "text"), ("video", "text"), ("video", "audio"), ("audio",)]
SYNC = np.array([1, 0, 1, -1, 0], np.int32)
ALIGNED = np.array([[True, False, True, True], [False, True, True, True]])


@pytest.fixture(scope="module")
def batch():
    """Five clips, of which three have video and audio, and features of any backbone."""
    clips = [random_clip(seed, kinds, hide=False) for seed, kinds in enumerate(CLIPS)]
    stream = make_stream(clips, rows=2, slots=4, labels={"sync": SYNC})
    stream = dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, aligned=ALIGNED))
    stream = jax.tree.map(jnp.asarray, stream)
    draw = np.random.default_rng(0)
    top = jnp.asarray(draw.normal(size=(*stream.layout.modality.shape, 48)), jnp.float32)
    classes = jnp.asarray(draw.normal(size=(2, 4, 3, 1, 48)), jnp.float32)
    return stream, Features((top,), stream.layout, (classes,), None, stages(Fusion("early"), 1), SPEC.modalities)


def reference(pooled, kernel, bias, answers):
    """Loss, accuracy and the gradient of each vector, clip by clip."""
    losses, right, gradients = [], [], []
    for vector, answer in zip(pooled, answers, strict=True):
        mean, deviation = vector.mean(), np.sqrt(vector.var() + 1e-6)
        normed = (vector - mean) / deviation
        odds = float(normed @ kernel[:, 0] + bias[0])
        chance = 1 / (1 + np.exp(-odds))
        losses.append(-np.log(chance if answer else 1 - chance))
        right.append((odds > 0) == answer)
        inner = (chance - answer) * kernel[:, 0]
        inner = (inner - inner.mean() - normed * (inner * normed).mean()) / deviation
        gradients.append(inner / len(answers))
    return np.mean(losses), np.mean(right), gradients


@pytest.mark.parametrize(
    "label, clips", [(None, {(0, 0): True, (0, 1): False, (0, 3): True}), ("sync", {(0, 0): True, (0, 1): False})]
)
def test_the_loss_is_the_reference(batch, label, clips):
    stream, features = batch
    objective = Synchrony(label)
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(0))

    def loss(top):
        return objective.loss(heads, dataclasses.replace(features, taps=(top,)), stream, nnx.Module())

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(features.top)
    kernel, bias = (np.asarray(array[...], np.float64) for array in (heads.head.dense.kernel, heads.head.dense.bias))
    top, layout = np.asarray(features.top, np.float64), stream.layout
    own = {clip: np.flatnonzero((layout.clip[clip[0]] == clip[1]) & (layout.modality[clip[0]] < 2)) for clip in clips}
    pooled = [top[row][own[row, slot]].mean(axis=0) for row, slot in clips]
    total, right, gradients = reference(pooled, kernel, bias, list(clips.values()))
    np.testing.assert_allclose(value, total, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)
    assert metrics["clips"] == len(clips)
    np.testing.assert_allclose(metrics["chance"], np.mean(list(clips.values())), rtol=1e-6)
    wanted = np.zeros_like(top)
    for clip, each in zip(clips, gradients, strict=True):
        wanted[clip[0], own[clip]] = each / len(own[clip])
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-7)


def test_other_poolings(batch):
    stream, features = batch
    for pooling in ("class", "map"):
        objective = Synchrony(pooling=pooling)
        loss, metrics = objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(0)), features, stream, nnx.Module())
        assert np.isfinite(loss) and metrics["clips"] == 3


def test_no_sound_gives_nothing(batch):
    _, features = batch
    clips = [random_clip(seed, ("video", "text"), hide=False) for seed in range(5)]
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=4))
    objective = Synchrony()
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(0))

    def loss(top):
        there = dataclasses.replace(features, taps=(top,), layout=stream.layout)
        return objective.loss(heads, there, stream, nnx.Module())

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(features.top)
    assert value == 0 and not np.any(gradient) and not any(metrics.values())


def test_what_a_run_lacks_is_told(batch):
    stream, features = batch
    for model, spec, words in [
        (TINY, dataclasses.replace(SPEC, audio=None), "synchrony needs audio"),
        (dataclasses.replace(TINY, fusion=Fusion("late")), SPEC, "never meet with model.fusion.scheme 'late'"),
        (dataclasses.replace(TINY, fusion=Fusion("mid", 3)), SPEC, "below the depth 3"),
    ]:
        with pytest.raises(ValueError, match=words):
            Synchrony().heads(model, spec, rngs=nnx.Rngs(0))
    Synchrony().heads(dataclasses.replace(TINY, fusion=Fusion("mid", 3, 2)), SPEC, rngs=nnx.Rngs(0))
    heads = Synchrony("lips").heads(TINY, SPEC, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="'lips' is not a kind of label of the corpus: it has sync"):
        Synchrony("lips").loss(heads, features, stream, nnx.Module())
