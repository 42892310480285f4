"""Bytes on a device of a mesh, checked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmvideo.cost_model.memory import Memory, shard_factor, shard_factors, share_bytes, tree_bytes
from mmvideo.parallel.mesh import AXES


def struct(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_a_device_holds_its_share():
    sizes = dict.fromkeys(AXES, 1) | {"data": 2, "fsdp": 4, "tensor": 2}
    tree, axes = [struct(8, 6), struct(6), struct(5, 6)], [("embed", "mlp"), None, ("embed", "mlp")]
    assert shard_factors(tree, axes, sizes) == [8, 1, 2]
    assert share_bytes(tree, axes, sizes) == 4 * (48 // 8 + 6 + 30 // 2)
    assert tree_bytes(tree) == 4 * (48 + 6 + 30) == share_bytes(tree, axes, dict.fromkeys(sizes, 1))
    assert shard_factor("batch", sizes) == 8


def test_the_total_is_the_sum():
    memory = Memory(1, 2, 3, 4, 5, 6)
    assert (memory.total, memory.held) == (21, 1 + 3 + 4 + 5)
