"""Where activations live on a mesh: split by rows and by tokens, whole in width.

Parameters may be split over the same devices as rows (`fsdp`). Left to itself XLA then sometimes
splits the width of an activation as its parameter's, and moves the large array instead of the small.

The tokens of a long row are split over `context`. What is per token works on its part: the embedding of content,
norms, projections, feed-forward (`by_tokens`). What brings tokens to other places takes them from the whole row
(`whole_rows`) and keeps a part of the answer. Attention has its queries split and gathers keys and values
(`on_own_queries`).
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

TOKEN_AXIS = "context"
"""The mesh axis that the tokens of a row are split over, as there."""

HEAD_AXIS = "tensor"
"""The mesh axis that heads are split over, as there."""


def by_rows(x: Any) -> Any:
    """An array whose first axis is `B`, split by rows over the mesh of `jax.set_mesh`; each row stays whole.

    It stays as it is outside of a jitted computation, without a mesh, and where the rows don't divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    axes = _dividing(ROW_AXES, x.shape[0], mesh)
    if axes is None:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))


def by_tokens(x: Any) -> Any:
    """Tokens `[B, L, D]`, or their heads `[B, L, N, H]`, split by rows, by tokens and by heads.

    What doesn't divide stays whole; outside of a jitted computation and without a mesh all does.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    return _constrained(x, _token_spec(x.shape, mesh))


def whole_rows(x: Any) -> Any:
    """Tokens as of `by_tokens`, but each row gathered from the devices that hold its parts."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    rows, _, heads = _token_spec(x.shape, mesh)
    return _constrained(x, PartitionSpec(rows, None, heads))


def token_parts(x: Any) -> int:
    """Into how many parts `by_tokens` splits each row of `[B, L, …]`."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return 1
    return 1 if _dividing((TOKEN_AXIS,), x.shape[1], mesh) is None else mesh.shape[TOKEN_AXIS]


def head_parts(heads: int) -> int:
    """Into how many parts `by_tokens` splits so many heads."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or _dividing((HEAD_AXIS,), heads, mesh) is None else mesh.shape[HEAD_AXIS]


def divisible(length: int) -> int:
    """A number of tokens with as few more as the mesh needs to split them."""
    mesh = jax.sharding.get_abstract_mesh()
    parts = mesh.shape[TOKEN_AXIS] if TOKEN_AXIS in mesh.shape else 1
    return -(-length // parts) * parts


def whole(x: Any) -> Any:
    """A parameter gathered on every device before its rows are looked up: XLA splits such a gather badly."""
    if jax.sharding.get_abstract_mesh().empty or not isinstance(x, jax.core.Tracer):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec())


def on_own_queries(
    attention: Callable[..., Array], q: Float[Array, "B L N H"], k: Array, v: Array, spans: Int[Array, "B L 2"]
) -> Float[Array, "B L N H"]:
    """`attention(q, k, v, spans)`, run by every device on its own rows and heads and on its own queries.

    XLA can't split a hand-written kernel over a mesh by itself. Keys and values of the whole row are gathered from
    the devices that made them, and their gradients go back as sums to them. Rows, heads or tokens that don't divide
    are held by every device whole.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(q, jax.core.Tracer):
        return attention(q, k, v, spans)
    tokens, parts = _token_spec(q.shape, mesh), token_parts(q)
    # As layouts are (`gather.sort_rows`), spans are known to every device for its whole rows.
    spans = by_rows(spans)

    def own(q: Array, k: Array, v: Array, spans: Array) -> Array:
        if parts > 1:
            k, v = (jax.lax.all_gather(x, TOKEN_AXIS, axis=1, tiled=True) for x in (k, v))
        return attention(q, k, v, spans)

    # The kernels don't say over which mesh axes their results vary, so that can't be checked.
    return jax.shard_map(
        own, in_specs=(tokens, tokens, tokens, PartitionSpec(*tokens[:2])), out_specs=tokens, check_vma=False
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


def _constrained(x: Array, spec: PartitionSpec) -> Array:
    """Split as the spec says; left to XLA where it says nothing."""
    return x if all(axes is None for axes in spec) else jax.lax.with_sharding_constraint(x, spec)


def _token_spec(shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """How tokens `[B, L, D]` or `[B, L, N, H]` are split."""
    rows, tokens = _dividing(ROW_AXES, shape[0], mesh), _dividing((TOKEN_AXIS,), shape[1], mesh)
    return PartitionSpec(rows, tokens, _dividing((HEAD_AXIS,), shape[2], mesh) if len(shape) == 4 else None)
