"""Bytes by hand: what a gradient keeps, and what a device of a mesh holds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mmvideo.model.attention import attend
from mmvideo.planning.memory import Memory, kept_bytes, share_bytes, tree_bytes


def struct(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_what_a_gradient_keeps():
    """`exp` keeps its result for its own gradient; `x` and `w` are there anyway."""
    kept = kept_bytes(lambda w, x: jnp.exp(x @ w).sum(), struct(4, 5), struct(3, 4))
    assert kept == 3 * 5 * 4


def test_rematerialisation_keeps_the_inputs_of_layers_only():
    def loss(wrap):
        body = wrap(lambda x, w: jnp.tanh(jnp.tanh(x @ w) @ w))
        return lambda w, x: jax.lax.scan(lambda c, layer: (body(c, layer), None), x, w)[0].sum()

    w, x = struct(6, 4, 4), struct(3, 4)
    assert kept_bytes(loss(jax.checkpoint), w, x) == 6 * 3 * 4 * 4
    assert kept_bytes(loss(lambda f: f), w, x) > 3 * 6 * 3 * 4 * 4


@pytest.mark.parametrize(("backend", "growth"), [("xla", 4), ("chunked", 2)])
def test_attention_keeps_memory_in_the_square_of_its_length_or_in_proportion(backend, growth):
    def kept(length):
        def loss(q, spans):
            return attend(q, q, q, spans, backend=backend, chunk=64).sum()

        return kept_bytes(loss, struct(1, length, 2, 8), struct(1, length, 2, dtype=jnp.int32))

    assert kept(2048) / kept(1024) == pytest.approx(growth, rel=0.05)


def test_a_device_holds_its_share():
    sizes = {"data": 2, "fsdp": 4, "tensor": 2, "context": 1}
    tree, axes = [struct(8, 6), struct(6), struct(5, 6)], [("embed", "mlp"), None, ("embed", "mlp")]
    assert share_bytes(tree, axes, sizes) == 4 * (48 // 8 + 6 + 30 // 2)
    assert tree_bytes(tree) == 4 * (48 + 6 + 30) == share_bytes(tree, axes, dict.fromkeys(sizes, 1))


def test_the_total_is_the_sum():
    assert Memory(1, 2, 3, 4, 5, 6).total == 21
