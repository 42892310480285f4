"""The contrastive losses against slow float64 references, with gradients, in blocks and whole, and their edge cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow import slopes

from mmvideo.objectives.losses.contrastive_losses import (
    chance_loss,
    mil_nce,
    retrieval_accuracy,
    sigmoid_contrastive,
    softmax_contrastive,
)
from mmvideo.objectives.losses.temperature import LARGEST_SCALE, bounded_exp

VALID = np.array([True, False, True, True, False, True, True])
POSITIVE = np.array([True, True, False, True, True, True, True])
NUMBER = np.array([4, -1, 9, 4, 2, 7, 8], np.int32)
HAS = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1], [1, 0, 0]], bool)

CASES = {
    "plain": {},
    "a clip twice": {"number": NUMBER},
    "not all positive": {"positive": POSITIVE},
    "all of it": {"number": NUMBER, "positive": POSITIVE},
}
EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
CHUNKS = pytest.mark.parametrize("chunk", [3, 50])
DIRECTIONS = pytest.mark.parametrize("direction", ["both", "forward", "backward"])


def embeddings(seed=0, *shape):
    shape = shape or (7, 5)
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def strangers(i, j, number=None):
    return VALID[i] and VALID[j] and i != j and (number is None or number[i] != number[j])


def positives(positive=None):
    return np.flatnonzero(VALID if positive is None else VALID & positive)


def softmax_reference(a, b, scale, *, number=None, positive=None, direction="both"):
    """InfoNCE, one row at a time."""
    losses = []
    for i in positives(positive):
        others = [j for j in range(len(a)) if j == i or strangers(i, j, number)]
        own = np.exp(scale * a[i] @ b[i])
        forth = -np.log(own / sum(np.exp(scale * a[i] @ b[j]) for j in others))
        back = -np.log(own / sum(np.exp(scale * a[j] @ b[i]) for j in others))
        losses.append({"both": (forth + back) / 2, "forward": forth, "backward": back}[direction])
    return np.mean(losses)


def mil_reference(a, b, scale, *, number=None, positive=None, direction="both"):
    """MIL-NCE, one clip at a time: sums over its own pairs, and over those of either side with others."""
    losses = []
    for i in positives(positive):
        own = sum(np.exp(scale * a[i] @ b[i, k]) for k in np.flatnonzero(HAS[i]))
        others = [j for j in range(len(a)) if strangers(i, j, number)]
        forth = sum(np.exp(scale * a[i] @ b[j, k]) for j in others for k in np.flatnonzero(HAS[j]))
        back = sum(np.exp(scale * a[j] @ b[i, k]) for j in others for k in np.flatnonzero(HAS[i]))
        negative = {"both": forth + back, "forward": forth, "backward": back}[direction]
        losses.append(-np.log(own / (own + negative)))
    return np.mean(losses)


def sigmoid_reference(a, b, scale, bias, *, number=None, positive=None):
    """SigLIP, one pair at a time."""
    total = 0.0
    for i in range(len(a)):
        for j in range(len(a)):
            if strangers(i, j, number) or (i == j and i in positives(positive)):
                sign = 1 if i == j else -1
                total += np.log1p(np.exp(-sign * (scale * a[i] @ b[j] + bias)))
    return total / VALID.sum()


@functools.lru_cache
def compiled(form, direction):
    """Value and gradients of a loss, in blocks: one program for all cases."""
    valid, has = jnp.asarray(VALID), jnp.asarray(HAS)
    if form == "mil_nce":
        # The fifth clip has no candidate, so that it takes no part whatever is said.
        valid = valid.at[4].set(True)

    def loss(arguments, number, positive):
        settings = {"number": number, "positive": positive, "chunk": 3}
        if form == "sigmoid":
            a, b, scale, bias = arguments
            return sigmoid_contrastive(a, b, valid, scale, bias, **settings)
        a, b, scale = arguments
        if form == "mil_nce":
            return mil_nce(a, b, valid, has, scale, **settings, direction=direction)
        return softmax_contrastive(a, b, valid, scale, **settings, direction=direction)

    return jax.jit(jax.value_and_grad(loss))


def check(form, direction, case, slow, *arguments):
    """Value, and gradients by every argument."""
    number, positive = case.get("number", np.arange(7)), case.get("positive", np.ones(7, bool))
    given = tuple(jnp.asarray(argument, jnp.float32) for argument in arguments)
    value, gradients = compiled(form, direction)(given, jnp.asarray(number), jnp.asarray(positive))
    np.testing.assert_allclose(value, slow(*arguments), rtol=1e-5)
    for mine, wanted in zip(gradients, slopes(slow, arguments), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=2e-5)


@EACH_CASE
@DIRECTIONS
def test_softmax_is_the_reference(case, direction):
    reference = functools.partial(softmax_reference, **case, direction=direction)
    check("softmax", direction, case, reference, embeddings(0), embeddings(10), 1 / 0.07)


@EACH_CASE
@DIRECTIONS
def test_mil_nce_is_the_reference(case, direction):
    reference = functools.partial(mil_reference, **case, direction=direction)
    check("mil_nce", direction, case, reference, embeddings(1), embeddings(11, 7, 3, 5), 1 / 0.07)


@EACH_CASE
def test_sigmoid_is_the_reference(case):
    reference = functools.partial(sigmoid_reference, **case)
    check("sigmoid", "both", case, reference, embeddings(2), embeddings(12), 10.0, -4.0)


def losses(form, valid, scale=10.0, number=None, chunk=None):
    valid, scale = jnp.asarray(valid), jnp.float32(scale)
    return {
        "softmax": lambda a, b: softmax_contrastive(a, b, valid, scale, number, chunk=chunk),
        "sigmoid": lambda a, b: sigmoid_contrastive(a, b, valid, scale, jnp.float32(-10), number, chunk=chunk),
        "mil_nce": lambda a, b: mil_nce(a, b[:, None], valid, valid[:, None], scale, number, chunk=chunk),
    }[form]


def differentiate(loss, a, b):
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(a, b)


FORMS = pytest.mark.parametrize("form", ["softmax", "sigmoid", "mil_nce"])


@FORMS
@CHUNKS
def test_blocks_change_nothing(form, chunk):
    """Values and gradients to float32 rounding, whatever the block, at the largest scale."""
    a, b = (jnp.asarray(embeddings(seed, 37, 16), jnp.float32) for seed in (3, 4))
    valid, number = np.arange(37) % 5 != 0, jnp.asarray(np.arange(37) % 30, jnp.int32)
    whole, part = (losses(form, valid, 100.0, number, chunk) for chunk in (None, chunk))
    (value, gradients), (mine, own) = (differentiate(loss, a, b) for loss in (whole, part))
    np.testing.assert_allclose(mine, value, rtol=1e-6)
    for one, other in zip(own, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.abs(other).max())


@FORMS
def test_rows_that_take_no_part_change_nothing(form):
    a, b = (np.float32(embeddings(seed)) for seed in (5, 6))
    few = jax.jit(losses(form, np.ones(VALID.sum(), bool)))(jnp.asarray(a[VALID]), jnp.asarray(b[VALID]))
    a[~VALID], b[~VALID] = 0, 1e6
    loss = losses(form, VALID, chunk=2)
    value, gradients = differentiate(loss, jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(value, few, rtol=1e-6)
    for gradient in gradients:
        assert (np.asarray(gradient)[~VALID] == 0).all()
        assert (np.asarray(gradient)[VALID] != 0).any()


@FORMS
def test_nobody_takes_part(form):
    a, b = (jnp.asarray(embeddings(seed), jnp.float32) for seed in (7, 8))
    value, gradients = differentiate(losses(form, np.zeros(7, bool)), a, b)
    assert value == 0
    assert all((gradient == 0).all() for gradient in gradients)


@FORMS
def test_one_clip_alone_has_nothing_to_be_told_from(form):
    a, b = (jnp.asarray(embeddings(seed), jnp.float32) for seed in (7, 8))
    value, gradients = differentiate(losses(form, np.arange(7) == 3), a, b)
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)
    if form != "sigmoid":
        assert value == 0 and all((gradient == 0).all() for gradient in gradients)


@FORMS
def test_a_mesh_changes_nothing(form):
    """Rows on eight devices, and no array of the program is larger than a device's rows by one block.

    Nor is any of all clips' embeddings: four blocks of 16 are the global batch.
    """
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    a, b = (jnp.asarray(embeddings(seed, 64, 8), jnp.float32) for seed in (3, 4))
    grad = jax.jit(jax.value_and_grad(losses(form, np.arange(64) % 7 != 0, chunk=16), argnums=(0, 1)))
    alone = grad(a, b)
    spread = jax.device_put((a, b), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    with jax.set_mesh(mesh):
        many = grad(*spread)
        program = grad.lower(*spread).compile().as_text()
    np.testing.assert_allclose(many[0], alone[0], rtol=1e-6)
    for one, other in zip(many[1], alone[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.abs(other).max())
    assert "f32[8,16]" in program and "f32[64,16]" not in program and "f32[64,64]" not in program
    assert "f32[4,2,8]" in program and "f32[4,16,8]" not in program


@FORMS
def test_memory_grows_linearly_with_the_batch(form):
    def temporary(clips, chunk):
        shape = jax.ShapeDtypeStruct((clips, 16), jnp.float32)
        loss = jax.value_and_grad(losses(form, np.ones(clips, bool), chunk=chunk), argnums=(0, 1))
        return jax.jit(loss).lower(shape, shape).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(1024, 64), temporary(2048, 64)
    assert large < 2.1 * small
    assert temporary(2048, None) > 3.5 * temporary(1024, None)


def chance(form, valid, **settings):
    return float(chance_loss(jnp.asarray(valid), form, **settings))


@pytest.mark.parametrize("case", [CASES["plain"], CASES["not all positive"]], ids=["all", "some"])
def test_chance_is_the_least_loss_of_embeddings_that_tell_nothing(case):
    case = {"positive": jnp.asarray(case.get("positive", np.ones(7, bool)))}
    same, valid, scale = jnp.ones((7, 1)), jnp.asarray(VALID), jnp.float32(10)
    for direction in ("both", "forward", "backward"):
        settings = case | {"direction": direction}
        told = softmax_contrastive(same, same, valid, scale, **settings)
        np.testing.assert_allclose(chance("softmax", VALID, **settings), told, rtol=1e-6)
        told = mil_nce(same, jnp.ones((7, 3, 1)), valid, jnp.asarray(HAS), scale, **settings)
        np.testing.assert_allclose(chance("mil_nce", VALID, has=jnp.asarray(HAS), **settings), told, rtol=1e-5)
    offsets = jnp.linspace(-14, -8, 2001)
    loss = functools.partial(sigmoid_contrastive, same, same, valid, scale, **case)
    np.testing.assert_allclose(chance("sigmoid", VALID, **case), jax.vmap(loss)(offsets).min(), rtol=1e-5)


@FORMS
def test_chance_among_nobody_is_zero(form):
    assert chance(form, np.zeros(7, bool)) == 0
    assert chance(form, VALID, positive=jnp.zeros(7, bool)) == 0


@CHUNKS
def test_accuracy_counts_the_nearest_among_those_that_take_part(chunk):
    accuracy = jax.jit(functools.partial(retrieval_accuracy, chunk=chunk))
    a = jnp.eye(4)
    b = jnp.eye(4)[jnp.array([0, 2, 1, 3])]
    every = jnp.ones(4, bool)
    assert accuracy(a, a, every) == 1.0
    assert accuracy(a, b, every) == 0.5
    # Without row 2, nobody is nearer to row 1 than its own partner: all are at a right angle, a tie.
    assert np.isclose(accuracy(a, b, jnp.array([True, True, False, True])), 2 / 3)
    assert accuracy(a, b, jnp.array([True, False, False, True])) == 1.0
    assert accuracy(jnp.ones((4, 2)), jnp.ones((4, 2)), every) == 0.0
    # A second copy of the same clip is no rival.
    assert accuracy(jnp.ones((2, 2)), jnp.ones((2, 2)), every[:2], jnp.array([5, 5])) == 1.0
    # One that is no positive is a rival all the same.
    assert accuracy(a, b, every, positive=jnp.array([True, True, False, True])) == pytest.approx(2 / 3)


def test_accuracy_takes_the_nearest_candidate():
    a, b = jnp.eye(3), jnp.stack([jnp.eye(3)[jnp.array([1, 0, 2])], jnp.eye(3)], axis=1)
    every, has = jnp.ones(3, bool), jnp.ones((3, 2), bool)
    assert retrieval_accuracy(a, b, every, has=has) == pytest.approx(1 / 3)
    assert retrieval_accuracy(a, b, every, has=has.at[:2, 0].set(False)) == 1.0


def test_the_scale_is_bounded_and_can_come_back():
    inside = jnp.float32(np.log(20))
    np.testing.assert_allclose(bounded_exp(inside), 20, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(bounded_exp)(inside), 20, rtol=1e-6)
    beyond = jnp.float32(np.log(1000))
    np.testing.assert_allclose(bounded_exp(beyond), LARGEST_SCALE, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(bounded_exp)(beyond), LARGEST_SCALE, rtol=1e-5)
    assert jax.grad(lambda x: -bounded_exp(x))(beyond) == 0
