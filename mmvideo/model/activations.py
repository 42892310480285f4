"""Where activations live on a mesh: split by rows, whole in width.

Parameters may be split over the same devices as rows (`fsdp`). Left to itself XLA then sometimes
splits the width of an activation as its parameter's, and moves the large array instead of the small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

ROW_AXES = ("data", "fsdp")
"""The mesh axes that rows are split over, as in `mmvideo.parallel.rules.ACTIVATIONS`, which stands beside this room."""

HEAD_AXIS = "tensor"
"""The mesh axis that heads are split over."""


def by_rows(x: Any) -> Any:
    """An array whose first axis is `B`, split by rows over the mesh of `jax.set_mesh`.

    It stays as it is outside of a jitted computation, without a mesh, and where the rows don't divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    axes = _dividing(ROW_AXES, x.shape[0], mesh)
    if axes is None:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))


def whole(x: Any) -> Any:
    """A parameter gathered on every device before its rows are looked up: XLA splits such a gather badly."""
    if jax.sharding.get_abstract_mesh().empty or not isinstance(x, jax.core.Tracer):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec())


def on_own_rows(
    attention: Callable[..., Array], q: Float[Array, "B L N H"], k: Array, v: Array, spans: Int[Array, "B L 2"]
) -> Array:
    """`attention(q, k, v, spans)`, run by every device on its own rows and heads.

    XLA can't split a hand-written kernel over a mesh by itself. Rows or heads that don't divide are held
    by every device whole.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(q, jax.core.Tracer):
        return attention(q, k, v, spans)
    rows = _dividing(ROW_AXES, q.shape[0], mesh)
    heads = _dividing((HEAD_AXIS,), q.shape[2], mesh)
    tokens = PartitionSpec(rows, None, heads)
    # The kernels don't say over which mesh axes their results vary, so that can't be checked.
    return jax.shard_map(
        attention, in_specs=(tokens, tokens, tokens, PartitionSpec(rows)), out_specs=tokens, check_vma=False
    )(q, k, v, spans)


def row_by_row(function: Callable[..., Any], *arrays: Array) -> Any:
    """`function(*arrays)`, whose arguments and results all have `B` first, run by every device on its own rows.

    For what XLA would gather on every device, such as the choice of the largest of many numbers.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(arrays[0], jax.core.Tracer):
        return function(*arrays)
    rows = PartitionSpec(_dividing(ROW_AXES, arrays[0].shape[0], mesh))
    return jax.shard_map(function, in_specs=rows, out_specs=rows, check_vma=False)(*arrays)


def _dividing(axes: tuple[str, ...], size: int, mesh: Any) -> tuple[str, ...] | None:
    """Those of the axes that the mesh has, if they divide a size together."""
    found = tuple(axis for axis in axes if axis in mesh.shape)
    ways = math.prod(mesh.shape[axis] for axis in found)
    return found if found and size % ways == 0 else None
