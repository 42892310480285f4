"""The sizes of blocks that tokamax is given, and its kernels as calls without a body."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.model.attention.dispatch import attend, traced_for_gpu, traced_platform
from mmvideo.model.attention.tokamax import BLOCK, filled
from mmvideo.model.attention.tokamax_blocks import measured, nearest_blocks
from mmvideo.model.attention.tokamax_shapes import CALLS, tokamax_shapes


@pytest.mark.parametrize(("length", "nearest"), [(1, 512), (512, 512), (700, 512), (2128, 2048), (90_000, 16_384)])
def test_blocks_are_those_of_the_nearest_length(length, nearest):
    assert nearest_blocks(64, length).length == nearest


def test_heads_of_a_width_that_was_not_measured_are_left_to_tokamax():
    assert nearest_blocks(48, 2048) is None


def test_every_measured_block_divides_what_keys_are_filled_up_to():
    for blocks in measured():
        assert BLOCK % blocks.forward["block_kv"] == BLOCK % blocks.backward["block_kv"] == 0
        assert set(blocks.forward) == {"block_q", "block_kv", "num_stages", "persistent"}
        assert set(blocks.backward) == {"block_q", "block_kv", "num_stages", "compute_wgs"}


def test_what_fills_keys_up_is_zero_and_has_no_gradient():
    x = jnp.arange(1.0, 1 + 2 * 130 * 3).reshape(2, 130, 1, 3)
    out, back = jax.vjp(lambda x: filled(x, BLOCK), x)
    assert out.shape == (2, 256, 1, 3) and not out[:, 130:].any()
    np.testing.assert_array_equal(out[:, :130], x)
    np.testing.assert_array_equal(back(jnp.ones_like(out))[0], jnp.ones_like(x))
    assert filled(out, BLOCK) is out or filled(out, BLOCK).shape == out.shape


def test_calls_have_the_shapes_of_attention_and_of_its_gradient():
    """A program with them lowers, with one call forwards and two backwards, which carry their blocks."""
    q = jax.ShapeDtypeStruct((2, 300, 4, 64), jnp.bfloat16)
    spans = jax.ShapeDtypeStruct((2, 300, 2), jnp.int32)

    def loss(q, k, v, spans):
        return tokamax_shapes(q, k, v, spans).astype(jnp.float32).sum()

    lowered = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(q, q, q, spans)
    value, gradients = lowered.out_info
    assert value.shape == () and all(each.shape == q.shape and each.dtype == q.dtype for each in gradients)
    text = lowered.as_text()
    assert all(text.count(f"@{name}(") == 1 for name in CALLS.values())
    assert text.count("block_q = 128") == 3


@pytest.mark.parametrize(
    ("length", "dtype", "calls"), [(300, "bfloat16", 1), (256, "bfloat16", 0), (300, "float32", 0)]
)
def test_a_program_for_a_gpu_has_its_kernels_where_a_gpu_would_take_them(length, dtype, calls):
    """Short rows are left to XLA, and float32 is, as on a GPU; outside nothing is traced so."""
    q = jax.ShapeDtypeStruct((1, length, 2, 64), dtype)
    spans = jax.ShapeDtypeStruct((1, length, 2), jnp.int32)

    def text() -> str:
        return jax.jit(lambda q, k, v, spans: attend(q, k, v, spans)).lower(q, q, q, spans).as_text()

    with traced_for_gpu():
        assert traced_platform() == "gpu" and text().count(f"@{CALLS['forward']}(") == calls
    assert traced_platform() == "cpu" and CALLS["forward"] not in text()
