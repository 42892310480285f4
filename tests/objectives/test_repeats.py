"""Equal captions in a batch, as negatives, left out or positives: against slow float64 references, with gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.objectives import Contrastive
from mmvideo.objectives.components.caption_pooling import count_same, same_captions
from mmvideo.objectives.learner import Learner
from mmvideo.objectives.losses.contrastive_losses import (
    chance_loss,
    retrieval_accuracy,
    sigmoid_contrastive,
    softmax_contrastive,
)

SAID = np.array([0, 1, 0, 1, 0, 5])  # the first, third and fifth say the same, and the second and fourth
CLIPS = np.arange(6)


def embeddings(seed):
    x = np.random.default_rng(seed).normal(size=(6, 4))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax_reference(a, b, scale, repeats):
    """One query at a time, one positive at a time (Khosla et al. 2020, equation 2), in both directions."""
    losses = []
    for query, gallery in ((a, b), (b, a)):
        for i in range(6):
            alike = np.flatnonzero(SAID == SAID[i])
            right = alike if repeats == "positives" else [i]
            seen = [j for j in range(6) if j == i or repeats == "positives" or j not in alike]
            total = sum(np.exp(scale * query[i] @ gallery[j]) for j in seen)
            losses.append(np.mean([-np.log(np.exp(scale * query[i] @ gallery[j]) / total) for j in right]))
    return np.mean(losses)


def sigmoid_reference(a, b, scale, repeats):
    total = 0.0
    for i in range(6):
        for j in range(6):
            if i != j and SAID[i] == SAID[j] and repeats == "left_out":
                continue
            right = i == j or (SAID[i] == SAID[j] and repeats == "positives")
            total += np.log1p(np.exp((-1 if right else 1) * (scale * a[i] @ b[j] - 3)))
    return total / 6


def settings(repeats):
    shared = {"number": jnp.stack([jnp.asarray(CLIPS), jnp.asarray(SAID)], axis=-1)}
    return shared | ({"place": jnp.asarray(SAID)} if repeats == "positives" else {})


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("repeats", ["left_out", "positives"])
@pytest.mark.parametrize("chunk", [None, 4])
def test_the_loss_is_the_reference(form, repeats, chunk):
    a, b, valid = embeddings(0), embeddings(1), jnp.ones(6, bool)

    def loss(a, b):
        if form == "sigmoid":
            return sigmoid_contrastive(a, b, valid, jnp.float32(3), jnp.float32(-3), chunk=chunk, **settings(repeats))
        return softmax_contrastive(a, b, valid, jnp.float32(3), chunk=chunk, **settings(repeats))

    def slow(a, b):
        return (sigmoid_reference if form == "sigmoid" else softmax_reference)(a, b, 3.0, repeats)

    given = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*given)
    np.testing.assert_allclose(value, slow(a, b), rtol=1e-5)
    for mine, wanted in zip(gradients, slopes(slow, (a, b)), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("repeats", ["left_out", "positives"])
def test_chance_is_the_loss_of_embeddings_that_tell_nothing(repeats):
    one, valid = jnp.ones((6, 1)), jnp.ones(6, bool)
    same = count_same(jnp.asarray(SAID), valid)
    assert same.tolist() == [2, 1, 2, 1, 2, 0]
    told = {"same": same, "partners": repeats == "positives"}
    wanted = softmax_contrastive(one, one, valid, jnp.float32(1), **settings(repeats))
    np.testing.assert_allclose(chance_loss(valid, "softmax", **told), wanted, rtol=1e-5)
    chance = chance_loss(valid, "sigmoid", **told)

    @jax.jit
    @jax.vmap
    def losses(bias):
        return sigmoid_contrastive(one, one, valid, jnp.float32(0), bias, **settings(repeats))

    biases = jnp.linspace(-3, 2, 201, dtype=jnp.float32)
    np.testing.assert_allclose(chance, losses(biases).min(), rtol=1e-3)


def test_the_nearest_of_several_partners_is_a_hit():
    """Each of the first points at the third, whose caption is its own: right as a partner, wrong as a stranger."""
    a = np.eye(6)[[2, 1, 0, 3, 4, 5]]
    given = jnp.asarray(a), jnp.eye(6), jnp.ones(6, bool)
    assert retrieval_accuracy(*given) == pytest.approx(4 / 6)
    assert retrieval_accuracy(*given, **settings("positives")) == 1


def texts(hide):
    """Six clips in two rows; the first, third and fifth have one caption, which is hidden in part or not."""
    clips = [random_clip(seed, hide=hide) for seed in range(6)]
    for place, like in enumerate([0, 1, 0, 3, 0, 5]):
        clips[place]["text"] = dataclasses.replace(clips[like]["text"], hidden=clips[place]["text"].hidden)
    # The same pieces in another order are another caption.
    turned = clips[1]["text"]
    clips[3]["text"] = dataclasses.replace(turned, content=turned.content[::-1].copy())
    hidden = ("text",) if hide else ()
    return jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=4, hidden=hidden))


@pytest.mark.parametrize("hide", [False, True])
def test_equal_captions_are_found_in_a_batch(hide):
    stream = texts(hide)
    number = np.asarray(stream.clips.clip_index).reshape(-1)
    slot = {clip: int(np.flatnonzero(number == clip)[0]) for clip in range(6)}
    alike = np.asarray(same_captions(stream, jnp.asarray(number >= 0)))
    found = {clip: int(alike[slot[clip]]) for clip in range(6)}
    assert found == {0: slot[0], 1: slot[1], 2: slot[0], 3: slot[3], 4: slot[0], 5: slot[5]}
    among = (number >= 0) & (number != 0)
    assert np.asarray(same_captions(stream, jnp.asarray(among)))[slot[4]] == slot[2]


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_an_objective_says_what_equal_captions_are(form):
    """Pairs without text are as ever; those with it differ, and less is lost where equal captions are no negatives."""
    stream, found = texts(False), {}
    for repeats in ("negatives", "left_out", "positives"):
        objective = Contrastive(pairs=("video-text", "video-audio"), form=form, repeats=repeats)
        learner = Learner(TINY, SPEC, {"it": objective}, rngs=nnx.Rngs(0))
        graph, state = nnx.split(learner)
        found[repeats] = jax.jit(lambda state, graph=graph: nnx.merge(graph, state).losses(stream)[1])(state)
    losses = {name: float(of["it/video-text/loss"]) for name, of in found.items()}
    assert len(set(losses.values())) == 3 and losses["left_out"] < losses["negatives"]
    assert len({float(of["it/video-audio/loss"]) for of in found.values()}) == 1
    chance = {name: float(of["it/video-text/chance_loss"]) for name, of in found.items()}
    assert chance["left_out"] < chance["negatives"]


def test_mil_nce_has_negatives_only():
    with pytest.raises(ValueError, match="contrastive.repeats 'positives' is for softmax and sigmoid"):
        Contrastive(form="mil_nce", repeats="positives")
