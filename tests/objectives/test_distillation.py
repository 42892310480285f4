"""Distillation against slow float64 references, with gradients, and clips without a teacher."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Distillation
from mmvideo.objectives.distillation import relational

NO_TRUNK = nnx.Module()
VALID = np.array([True, False, True, True, True, True])
NUMBER = np.array([3, -1, 5, 3, 8, 9], np.int32)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def divergence(student, teacher, valid, number, temperature=0.2, teacher_temperature=0.1):
    """The Kullback-Leibler divergence of the student's softmax from the teacher's, one clip at a time."""
    student, teacher, losses = unit(student), unit(teacher), []
    for i in np.flatnonzero(valid):
        others = [j for j in np.flatnonzero(valid) if number[j] != number[i]]
        p = np.exp([teacher[i] @ teacher[j] / teacher_temperature for j in others])
        q = np.exp([student[i] @ student[j] / temperature for j in others])
        p, q = p / p.sum(), q / q.sum()
        losses.append((p * np.log(p / q)).sum())
    return np.mean(losses)


@pytest.mark.parametrize("chunk", [None, 4])
def test_relational_is_the_reference(chunk):
    student, teacher = np.random.default_rng(0).normal(size=(6, 4)), np.random.default_rng(1).normal(size=(6, 7))

    def loss(student):
        wanted, valid, number = jnp.asarray(teacher, jnp.float32), jnp.asarray(VALID), jnp.asarray(NUMBER)
        return relational(student, wanted, valid, 5.0, 10.0, number, chunk=chunk)

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(student, jnp.float32))
    np.testing.assert_allclose(value, divergence(student, teacher, VALID, NUMBER), rtol=1e-5)
    slope = slopes(lambda student: divergence(student, teacher, VALID, NUMBER), [student])[0]
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


def test_a_student_as_near_as_the_teacher_loses_nothing():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    turned = x @ jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0], jnp.float32)
    every = jnp.ones(6, bool)
    value, gradient = jax.value_and_grad(lambda x: relational(x, turned, every, 10.0, 10.0))(x)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


@pytest.mark.parametrize("valid", [np.zeros(6, bool), np.arange(6) == 2], ids=["none", "one"])
def test_nothing_to_compare(valid):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    value, gradient = jax.value_and_grad(lambda x: relational(x, x, jnp.asarray(valid), 10.0, 10.0))(x)
    assert value == 0 and (gradient == 0).all()


@pytest.fixture(scope="module")
def batch():
    """Six clips: the third has no audio, the fourth has shifted audio, the fifth no teacher."""
    clips = [random_clip(n, ("video", "text") if n == 2 else ("video", "audio"), hide=False) for n in range(6)]
    stream = make_stream(clips, rows=2, slots=3, hidden=())
    stream.clips.aligned[1, 0] = False
    vectors = np.random.default_rng(5).normal(size=(2, 3, 8)).astype(np.float32)
    vectors[1, 1] = np.nan
    clips = dataclasses.replace(stream.clips, teacher_embeddings={"video": vectors, "video+audio": 2 * vectors})
    stream = jax.tree.map(jnp.asarray, dataclasses.replace(stream, clips=clips))
    backbone = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    return stream, vectors.reshape(6, 8), jax.jit(lambda stream: backbone(stream))(stream)


def slow_loss(form, answers, vectors):
    if form == "relational":
        return divergence(answers, vectors, np.ones(len(answers)), np.arange(len(answers)), 0.1, 0.05)
    if form == "cosine":
        return np.mean([1 - unit(a) @ unit(v) for a, v in zip(answers, vectors, strict=True)])
    return np.mean([np.mean((a - v) ** 2) for a, v in zip(answers, vectors, strict=True)])


@pytest.mark.parametrize("form", ["cosine", "mse", "relational"])
@pytest.mark.parametrize(
    "group, clips, factor", [(("video",), [0, 1, 2, 3, 5], 1), (("audio", "video"), [0, 1, 5], 2)], ids=["one", "both"]
)
def test_the_loss_is_the_reference(batch, form, group, clips, factor):
    """Values, and the gradient by an offset of every output."""
    stream, vectors, features = batch
    objective = Distillation(8, group, form=form, chunk=2)
    graph, state = nnx.split(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)))

    def loss(state):
        return objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    answers, _ = nnx.merge(graph, state)(features, 3)
    answers = np.asarray(answers, np.float64).reshape(6, 8)[clips]
    wanted = factor * vectors[clips].astype(np.float64)
    np.testing.assert_allclose(value, slow_loss(form, answers, wanted), rtol=1e-5)
    slope = slopes(lambda added: slow_loss(form, answers + added, wanted), [np.zeros(8)])[0]
    np.testing.assert_allclose(gradient["answer"]["dense"]["bias"].get_value(), slope, rtol=1e-4, atol=1e-5)
    assert metrics["clips"] == len(clips)
    if form != "relational":
        cosine = np.mean([unit(a) @ unit(v) for a, v in zip(answers, wanted, strict=True)])
        np.testing.assert_allclose(metrics["cosine"], cosine, rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("form", ["cosine", "mse", "relational"])
def test_no_clip_has_a_teacher(batch, form):
    stream, _, features = batch
    clips = dataclasses.replace(stream.clips, teacher_embeddings={"video": jnp.full((2, 3, 8), jnp.nan)})
    stream, objective = dataclasses.replace(stream, clips=clips), Distillation(8, form=form)
    graph, state = nnx.split(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)))
    value, gradient = jax.value_and_grad(
        lambda state: objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)[0]
    )(state)
    assert value == 0 and all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


def test_another_modality_may_be_the_teacher(batch):
    stream, _, features = batch
    objective = Distillation(8, ("audio",), teacher="video")
    _, metrics = objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)
    assert metrics["clips"] == 4


@pytest.mark.parametrize(
    "objective, words",
    [
        (Distillation(8, ("audio",)), "vectors of 'audio', but there are vectors of video, video+audio"),
        (Distillation(5), "width 5: the teacher's vectors have 8 elements"),
    ],
)
def test_a_teacher_that_does_not_fit_is_told(batch, objective, words):
    stream, _, features = batch
    with pytest.raises(ValueError, match=words.replace("+", r"\+")):
        objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)
