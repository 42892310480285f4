"""The contrastive losses against slow float64 references, with gradients, and their edge cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.objectives.contrastive import (
    LARGEST_SCALE,
    bounded_exp,
    chance_loss,
    retrieval_accuracy,
    sigmoid_contrastive,
    softmax_contrastive,
)

VALID = np.array([True, False, True, True, False, True, True])
NUMBER = np.array([4, -1, 9, 4, 2, 7, 8], np.int32)
NUMBERS = pytest.mark.parametrize("number", [None, NUMBER], ids=["all apart", "a clip twice"])


def embeddings(seed=0, n=7, d=5):
    a, b = np.random.default_rng(seed).normal(size=(2, n, d))
    return a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)


def may_compare(i, j, valid, number):
    return valid[i] and valid[j] and (i == j or number is None or number[i] != number[j])


def softmax_reference(a, b, valid, scale, number=None):
    """InfoNCE, one row at a time."""
    losses = []
    for i in np.flatnonzero(valid):
        others = [j for j in range(len(a)) if may_compare(i, j, valid, number)]
        own = np.exp(scale * a[i] @ b[i])
        forth = -np.log(own / sum(np.exp(scale * a[i] @ b[j]) for j in others))
        back = -np.log(own / sum(np.exp(scale * a[j] @ b[i]) for j in others))
        losses.append((forth + back) / 2)
    return np.mean(losses)


def sigmoid_reference(a, b, valid, scale, bias, number=None):
    """SigLIP, one pair at a time."""
    total = 0.0
    for i in range(len(a)):
        for j in range(len(a)):
            if may_compare(i, j, valid, number):
                sign = 1 if i == j else -1
                total += np.log1p(np.exp(-sign * (scale * a[i] @ b[j] + bias)))
    return total / valid.sum()


def slopes(function, arguments, step=1e-6):
    """Central differences of a float64 function by each of its arguments."""
    gradients = []
    for which, argument in enumerate(arguments):
        gradient = np.zeros_like(argument, dtype=np.float64)
        for place in np.ndindex(np.shape(argument)):
            moved = [np.array(value, np.float64) for value in arguments]
            moved[which][place] += step
            above = function(*moved)
            moved[which][place] -= 2 * step
            gradient[place] = (above - function(*moved)) / (2 * step)
        gradients.append(gradient)
    return gradients


@NUMBERS
def test_softmax_is_the_reference(number):
    a, b = embeddings()
    scale = 1 / 0.07
    numbers = None if number is None else jnp.asarray(number)
    given = (np.float32(a), np.float32(b), np.float32(scale))
    value, gradients = jax.value_and_grad(
        lambda a, b, scale: softmax_contrastive(a, b, jnp.asarray(VALID), scale, numbers), argnums=(0, 1, 2)
    )(*map(jnp.asarray, given))
    reference = lambda a, b, scale: softmax_reference(a, b, VALID, scale, number)  # noqa: E731
    np.testing.assert_allclose(value, reference(a, b, scale), rtol=1e-5)
    for mine, slow in zip(gradients, slopes(reference, (a, b, scale)), strict=True):
        np.testing.assert_allclose(mine, slow, rtol=1e-4, atol=2e-5)


@NUMBERS
def test_sigmoid_is_the_reference(number):
    a, b = embeddings(1)
    scale, bias = 10.0, -4.0
    numbers = None if number is None else jnp.asarray(number)
    value, gradients = jax.value_and_grad(
        lambda a, b, scale, bias: sigmoid_contrastive(a, b, jnp.asarray(VALID), scale, bias, numbers),
        argnums=(0, 1, 2, 3),
    )(*(jnp.float32(x) for x in (a, b, scale, bias)))
    reference = lambda a, b, scale, bias: sigmoid_reference(a, b, VALID, scale, bias, number)  # noqa: E731
    np.testing.assert_allclose(value, reference(a, b, scale, bias), rtol=1e-5)
    for mine, slow in zip(gradients, slopes(reference, (a, b, scale, bias)), strict=True):
        np.testing.assert_allclose(mine, slow, rtol=1e-4, atol=2e-5)


def losses(a, b, valid, scale=10.0):
    scale = jnp.float32(scale)
    return {
        "softmax": lambda a, b: softmax_contrastive(a, b, valid, scale),
        "sigmoid": lambda a, b: sigmoid_contrastive(a, b, valid, scale, jnp.float32(-10)),
    }


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_rows_that_take_no_part_change_nothing(form):
    a, b = (np.float32(x) for x in embeddings(2))
    valid = jnp.asarray(VALID)
    few = losses(a, b, jnp.ones(VALID.sum(), bool))[form](jnp.asarray(a[VALID]), jnp.asarray(b[VALID]))
    a[~VALID], b[~VALID] = 0, 1e6
    value, gradients = jax.value_and_grad(losses(a, b, valid)[form], argnums=(0, 1))(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(value, few, rtol=1e-6)
    for gradient in gradients:
        assert (np.asarray(gradient)[~VALID] == 0).all()
        assert (np.asarray(gradient)[VALID] != 0).any()


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_nobody_takes_part(form):
    a, b = (jnp.asarray(x, jnp.float32) for x in embeddings(3))
    value, gradients = jax.value_and_grad(losses(a, b, jnp.zeros(7, bool))[form], argnums=(0, 1))(a, b)
    assert value == 0
    assert all((gradient == 0).all() for gradient in gradients)


def test_chance_is_the_least_loss_of_embeddings_that_tell_nothing():
    same, valid, scale = jnp.ones((7, 1)), jnp.asarray(VALID), jnp.float32(10)
    np.testing.assert_allclose(chance_loss(valid, "softmax"), softmax_contrastive(same, same, valid, scale), rtol=1e-6)
    offsets = jnp.linspace(-14, -8, 2001)
    least = jax.vmap(lambda bias: sigmoid_contrastive(same, same, valid, scale, bias))(offsets).min()
    np.testing.assert_allclose(chance_loss(valid, "sigmoid"), least, rtol=1e-5)
    assert chance_loss(jnp.zeros(7, bool), "softmax") == chance_loss(jnp.zeros(7, bool), "sigmoid") == 0


def test_accuracy_counts_the_nearest_among_those_that_take_part():
    a = jnp.eye(4)
    b = jnp.eye(4)[jnp.array([0, 2, 1, 3])]
    every = jnp.ones(4, bool)
    assert retrieval_accuracy(a, a, every) == 1.0
    assert retrieval_accuracy(a, b, every) == 0.5
    # Without row 2, nobody is nearer to row 1 than its own partner: all are at a right angle, a tie.
    assert np.isclose(retrieval_accuracy(a, b, jnp.array([True, True, False, True])), 2 / 3)
    assert retrieval_accuracy(a, b, jnp.array([True, False, False, True])) == 1.0
    assert retrieval_accuracy(jnp.ones((4, 2)), jnp.ones((4, 2)), every) == 0.0
    # A second copy of the same clip is no rival.
    assert retrieval_accuracy(jnp.ones((2, 2)), jnp.ones((2, 2)), every[:2], jnp.array([5, 5])) == 1.0


def test_the_scale_is_bounded_and_can_come_back():
    inside = jnp.float32(np.log(20))
    np.testing.assert_allclose(bounded_exp(inside), 20, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(bounded_exp)(inside), 20, rtol=1e-6)
    beyond = jnp.float32(np.log(1000))
    np.testing.assert_allclose(bounded_exp(beyond), LARGEST_SCALE, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(bounded_exp)(beyond), LARGEST_SCALE, rtol=1e-5)
    assert jax.grad(lambda x: -bounded_exp(x))(beyond) == 0
