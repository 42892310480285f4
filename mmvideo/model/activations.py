"""Where activations live on a mesh: split by rows, whole in width.

Parameters may be split over the same devices as rows (`fsdp`). Left to itself XLA then sometimes
splits the width of an activation as its parameter's, and moves the large array instead of the small.
"""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.sharding import PartitionSpec

ROW_AXES = ("data", "fsdp")
"""The mesh axes that rows are split over, as in `mmvideo.parallel.rules.ACTIVATIONS`, which stands beside this room."""


def by_rows(x: Any) -> Any:
    """An array whose first axis is `B`, split by rows over the mesh of `jax.set_mesh`.

    It stays as it is outside of a jitted computation, without a mesh, and where the rows don't divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    axes = tuple(axis for axis in ROW_AXES if axis in mesh.shape)
    if not axes or x.shape[0] % math.prod(mesh.shape[axis] for axis in axes):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))


def whole(x: Any) -> Any:
    """A parameter gathered on every device before its rows are looked up: XLA splits such a gather badly."""
    if jax.sharding.get_abstract_mesh().empty or not isinstance(x, jax.core.Tracer):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec())
