"""Products counted as by hand, in every construct of a program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.cost_model.flops import OTHER, count_flops, count_products

X = jax.ShapeDtypeStruct((5, 4), jnp.float32)
W = jax.ShapeDtypeStruct((4, 4), jnp.float32)
ONE = 2 * 5 * 4 * 4
"""FLOPs of `X @ W`."""


def stacked(body):
    """Three layers in a scan."""
    return lambda x, w: jax.lax.scan(lambda c, layer: (body(c, layer), None), x, jnp.stack([w] * 3))[0]


@jax.custom_vjp
def custom(x, w):
    return x @ w


custom.defvjp(lambda x, w: (x @ w, (x, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))


@pytest.mark.parametrize(
    ("program", "products"),
    [
        (lambda x, w: x @ w @ w, 2),
        (jax.jit(lambda x, w: x @ w), 1),
        (stacked(lambda x, w: x @ w), 3),
        (stacked(stacked(lambda x, w: x @ w)), 9),
        (jax.checkpoint(lambda x, w: jnp.tanh(x @ w)), 1),
        (custom, 1),
        (lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w), 2),
        (lambda x, w: jax.lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c @ w, x), 1),
        (lambda x, w: jax.lax.fori_loop(0, 7, lambda _, c: c @ w, x), 7),
        (lambda x, w: jax.vmap(lambda row: row @ w)(x), 1),
        (lambda x, w: jax.lax.ragged_dot(x, jnp.stack([w, w]), jnp.array([2, 3])), 1),
    ],
    ids=["plain", "jit", "scan", "nested", "remat", "custom", "cond", "while", "fori", "vmap", "ragged"],
)
def test_products_by_hand(program, products):
    assert count_flops(program, X, W) == products * ONE


@pytest.mark.parametrize("program", [lambda x, w: x @ w, jax.checkpoint(lambda x, w: x @ w), custom])
def test_a_gradient_takes_three_times_the_products(program):
    """Forward, the gradient of the input, and that of the weight."""
    layers = stacked(lambda x, w: jnp.tanh(program(x, w)))
    gradient = jax.value_and_grad(lambda x, w: layers(x, w).sum(), argnums=(0, 1))
    # A rematerialised product is computed once more.
    assert count_flops(gradient, X, W) in (9 * ONE, 12 * ONE)


def test_a_gradient_of_remat_counts_what_is_computed_twice():
    layers = stacked(jax.checkpoint(lambda x, w: jnp.tanh(x @ w)))
    assert count_flops(jax.value_and_grad(lambda x, w: layers(x, w).sum(), argnums=(0, 1)), X, W) == 12 * ONE


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 3)])
def test_a_convolution_agrees_with_the_compiler(stride, groups):
    """Convolutions without padding, because XLA skips the products with zeros around an image."""
    x = jax.ShapeDtypeStruct((2, 9, 9, 6), jnp.float32)
    w = jax.ShapeDtypeStruct((3, 3, 6 // groups, 12), jnp.float32)

    def program(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    assert count_flops(program, x, w) == pytest.approx(_compiled(program, x, w), rel=0.01)


def test_the_gradient_of_a_strided_convolution_multiplies_no_zeros():
    x = jax.ShapeDtypeStruct((2, 9, 9, 6), jnp.float32)
    w = jax.ShapeDtypeStruct((1, 1, 6, 12), jnp.float32)

    def loss(x, w):
        return jax.lax.conv_general_dilated(x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")).sum()

    one = 2 * (2 * 5 * 5 * 12) * 6
    # The gradient of the input has all 81 places, of which a quarter gets something.
    assert count_flops(jax.value_and_grad(loss, (0, 1)), x, w) == pytest.approx(3 * one, rel=0.1)


def test_plain_products_agree_with_the_compiler():
    def program(x, w):
        return jnp.einsum("ab,cb->ac", x @ w, x)

    assert count_flops(program, X, W) == _compiled(program, X, W)


def _compiled(program, *arguments) -> float:
    return jax.jit(program).lower(*arguments).compile().cost_analysis()["flops"]


def test_products_belong_to_the_part_of_their_weight():
    weights = {"first": W, "second": {"a": W, "b": W}}

    def program(weights, x):
        y = x @ weights["first"].astype(jnp.bfloat16).astype(jnp.float32)
        merged = weights["second"]["a"] @ weights["second"]["b"]
        z = y @ merged
        return jax.nn.softmax(z @ z.T) @ x, x.T @ x

    found = count_products(program, weights, X, part=lambda path: path[0], order=["first", "second"])
    assert found.weights == {"first": ONE, "second": ONE + 2 * 4 * 4 * 4}
    assert found.activations == {"second": 2 * (2 * 5 * 5 * 4), OTHER: 2 * 4 * 4 * 5}
    assert found.total == count_flops(program, weights, X) == sum(map(found.of, ("first", "second", OTHER)))


def test_what_a_scan_carries_is_no_weight_once_data_touched_it():
    """The carry starts as a weight and meets the data in the first turn."""

    def program(weights, x):
        return jax.lax.scan(lambda c, _: (c @ x.T @ x, None), weights["w"], None, length=3)[0]

    found = count_products(program, {"w": W}, X, part=lambda path: "part", order=["part"])
    assert sum(found.weights.values()) == 0
    assert found.total == 3 * 2 * (2 * 4 * 4 * 5)
    assert np.isclose(found.total, count_flops(program, {"w": W}, X))
