"""Peak bytes of programs, checked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mmvideo.cost_model.peak_memory import peak_bytes
from mmvideo.model.attention.dispatch import attend


def struct(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_what_is_fused_takes_nothing():
    """An elementwise chain between two products: only the second product's input and result are allocated."""
    made = peak_bytes(lambda w, x: jnp.tanh(x @ w * 2 + 1) @ w, struct(4, 4), struct(3, 4))
    assert made == 4 * (3 * 4 + 3 * 4)


def test_what_is_read_no_more_is_free():
    """A chain of products holds two arrays at a time; a sum to a scalar is fused."""

    def chain(w, x):
        for _ in range(9):
            x = x @ w
        return x.sum()

    assert peak_bytes(chain, struct(4, 4), struct(3, 4)) == 2 * 4 * 3 * 4


def test_a_gradient_keeps_what_it_needs_and_devices_their_share():
    """The product of the backward pass reads the cosine of `x @ w` and makes the gradient, of which a device may keep
    half."""

    def gradient(w, x):
        return jax.grad(lambda w: jnp.sin(x @ w).sum())(w)

    whole = peak_bytes(gradient, struct(4, 5), struct(3, 4))
    assert whole == 4 * (3 * 5 + 4 * 5)
    assert whole - peak_bytes(gradient, struct(4, 5), struct(3, 4), shares=[0.5]) == 4 * 4 * 5 / 2


def test_a_factor_of_the_narrower_type_is_copied():
    """A bfloat16 by float32 product: a copy of the first factor in float32, and the result."""
    product = lambda x, w: jax.lax.dot(x, w, preferred_element_type=jnp.float32)  # noqa: E731
    made = peak_bytes(product, struct(3, 4, dtype=jnp.bfloat16), struct(4, 5))
    assert made == 4 * (3 * 4 + 3 * 5)
    assert peak_bytes(product, struct(3, 4), struct(4, 5)) == 4 * 3 * 5


def test_results_come_in_their_order():
    """A chain of two products next to a wide one: the first result is alive while the second is computed."""

    def peak(order):
        def program(w, v, x):
            results = (x @ w) @ w, x @ v
            return tuple(results[number] for number in order)

        return peak_bytes(program, struct(4, 4), struct(4, 64), struct(3, 4))

    deep, wide = 4 * 3 * 4, 4 * 3 * 64
    assert peak((0, 1)) == deep + wide
    assert peak((1, 0)) == wide + 2 * deep


def test_zeros_of_one_shape_are_there_from_the_first_loop_on():
    """Two loops: the second stacks an array of the first one's shape, or as many bytes in another shape."""

    def loops(shape):
        def program(x):
            first = jax.lax.scan(lambda c, _: (c, jnp.cos(c)), x, None, length=8)[1]
            carry = jnp.sin(first @ first.sum(0)).sum()
            return jax.lax.scan(lambda c, _: (c, jnp.full(shape, c)), carry, None, length=8)[1]

        return peak_bytes(program, struct(6))

    assert loops((6,)) > loops((3, 2)) >= 4 * 8 * 6


def test_one_kernel_makes_what_is_made_of_the_same():
    """Three functions of one array, each for its own product: all are computed at once, while the array is alive."""

    def program(x, w, v):
        y = x @ w
        return [function(y) @ v for function in (jnp.sin, jnp.cos, jnp.tanh)]

    assert peak_bytes(program, struct(3, 4), struct(4, 4), struct(4, 1)) == 4 * 4 * 3 * 4 + 4 * 3


def test_a_loop_needs_one_turn_and_what_it_stacks_up():
    def loss(wrap):
        body = wrap(lambda x, w: jnp.tanh(jnp.tanh(x @ w) @ w))
        return lambda w, x: jax.grad(lambda w: jax.lax.scan(lambda c, w: (body(c, w), None), x, w)[0].sum())(w)

    def growth(wrap):
        """Bytes for each layer more."""
        return (
            peak_bytes(loss(wrap), struct(36, 4, 4), struct(64, 4))
            - peak_bytes(loss(wrap), struct(6, 4, 4), struct(64, 4))
        ) / 30

    gradient, activation = 4 * 4 * 4, 4 * 64 * 4
    assert growth(jax.checkpoint) == gradient + activation
    assert growth(lambda f: f) >= gradient + 3 * activation


@pytest.mark.parametrize(("backend", "growth"), [("xla", 4), ("chunked", 2)])
def test_attention_takes_memory_in_the_square_of_its_length_or_in_proportion(backend, growth):
    def peak(length):
        def loss(q, spans):
            return attend(q, q, q, spans, backend=backend, chunk=64).sum()

        return peak_bytes(jax.grad(loss), struct(1, length, 2, 8), struct(1, length, 2, dtype=jnp.int32))

    assert peak(2048) / peak(1024) == pytest.approx(growth, rel=0.05)


def test_chunked_attention_keeps_no_masks_for_scanned_layers():
    """Masks are the same in every layer, and must not be computed once and kept: they are L^2 bits."""

    def peak(length):
        def layers(x, spans):
            def body(x, _):
                return attend(x, x, x, spans, backend="chunked", chunk=64), None

            return jax.lax.scan(body, x, None, length=3)[0].sum()

        return peak_bytes(jax.grad(layers), struct(1, length, 2, 8), struct(1, length, 2, dtype=jnp.int32))

    assert peak(4096) / peak(2048) == pytest.approx(2, rel=0.05)
