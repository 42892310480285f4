"""Sharding of activations on a mesh: split by rows and by tokens, never by width.

Parameters may be split over the same devices as rows (`fsdp`). Without constraints XLA sometimes splits the width of an
activation like that of its parameter, and moves the large array instead of the small one.

The tokens of a long row are split over `context`. Operations per token work on the local tokens: the embedding of
content, norms, projections, feed-forward (`by_tokens`). Operations that move tokens to other indices gather the whole
row (`whole_rows`) and keep the local part of the result. Attention has its queries split and gathers keys and values
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
"""The mesh axes that rows are split over, as in `mmvideo.parallel.rules.ACTIVATIONS`, which `model` can't import."""

TOKEN_AXIS = "context"
"""The mesh axis that the tokens of a row are split over, as there."""

HEAD_AXIS = "tensor"
"""The mesh axis that heads are split over, as there."""


def by_rows(x: Any) -> Any:
    """Return an array, whose first axis is `B`, split by rows over the mesh of `jax.set_mesh`; each row stays whole.

    The array is returned unchanged outside of a jitted computation, without a mesh, and where the row count is not
    divisible.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    axes = _dividing(ROW_AXES, x.shape[0], mesh)
    if axes is None:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))


def by_tokens(x: Any) -> Any:
    """Return tokens `[B, L, D]`, or their heads `[B, L, N, H]`, split by rows, by tokens and by heads.

    An axis whose size is not divisible stays whole; outside of a jitted computation and without a mesh all do.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    return _constrained(x, _token_spec(x.shape, mesh))


def whole_rows(x: Any) -> Any:
    """Return tokens as for `by_tokens`, with each row gathered from the devices that hold its parts."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    rows, _, heads = _token_spec(x.shape, mesh)
    return _constrained(x, PartitionSpec(rows, None, heads))


def token_parts(x: Any) -> int:
    """Return the number of parts into which `by_tokens` splits each row of `[B, L, …]`."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return 1
    return 1 if _dividing((TOKEN_AXIS,), x.shape[1], mesh) is None else mesh.shape[TOKEN_AXIS]


def head_parts(heads: int) -> int:
    """Into how many parts `by_tokens` splits so many heads."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or _dividing((HEAD_AXIS,), heads, mesh) is None else mesh.shape[HEAD_AXIS]


def divisible(length: int) -> int:
    """Round a number of tokens up to a multiple of the parts that the mesh splits a row into."""
    mesh = jax.sharding.get_abstract_mesh()
    parts = mesh.shape[TOKEN_AXIS] if TOKEN_AXIS in mesh.shape else 1
    # Example: 10 tokens over 4 parts become 12, three for each.
    return -(-length // parts) * parts


def whole(x: Any) -> Any:
    """Gather a parameter on every device before its rows are looked up: XLA splits such a gather badly."""
    if jax.sharding.get_abstract_mesh().empty or not isinstance(x, jax.core.Tracer):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec())


def on_own_queries(
    attention: Callable[..., Array], q: Float[Array, "B L N H"], k: Array, v: Array, spans: Int[Array, "B L 2"]
) -> Float[Array, "B L N H"]:
    """Return `attention(q, k, v, spans)`, computed on every device for its own rows, heads and queries.

    XLA can't split a hand-written kernel over a mesh by itself. Keys and values of the whole row are gathered from the
    devices that computed them, and their gradients return there as sums. Every device holds rows, heads or tokens whole
    where their number is not divisible.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(q, jax.core.Tracer):
        return attention(q, k, v, spans)
    tokens = _token_spec(q.shape, mesh)
    parts = token_parts(q)
    # Every device has the spans of its whole rows, like the layouts (`gather.sort_rows`), and cuts out its queries.
    spans = by_rows(spans)

    def own(q: Array, k: Array, v: Array, spans: Array) -> Array:
        # Example: L = 8 over 2 devices. Device 1 holds queries 4 to 7 and, after the gather, keys 0 to 7. Spans count
        # keys of the whole row, so they need no shift.
        if parts > 1:
            k, v = (jax.lax.all_gather(x, TOKEN_AXIS, axis=1, tiled=True) for x in (k, v))
        return attention(q, k, v, spans)

    # The kernels don't declare over which mesh axes their results vary, so JAX can't check it.
    return jax.shard_map(
        own, in_specs=(tokens, tokens, tokens, PartitionSpec(*tokens[:2])), out_specs=tokens, check_vma=False
    )(q, k, v, spans)


def row_by_row(function: Callable[..., Any], *arrays: Array) -> Any:
    """Return `function(*arrays)`, computed on every device for its own rows; arguments and results have `B` first.

    For operations that XLA would gather on every device, such as the largest of many elements (top-k).
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not isinstance(arrays[0], jax.core.Tracer):
        return function(*arrays)
    rows = PartitionSpec(_dividing(ROW_AXES, arrays[0].shape[0], mesh))
    return jax.shard_map(function, in_specs=rows, out_specs=rows, check_vma=False)(*arrays)


def _dividing(axes: tuple[str, ...], size: int, mesh: Any) -> tuple[str, ...] | None:
    """Return those of the axes that the mesh has, if their product divides a size; else None."""
    found = tuple(axis for axis in axes if axis in mesh.shape)
    ways = math.prod(mesh.shape[axis] for axis in found)
    return found if found and size % ways == 0 else None


def _constrained(x: Array, spec: PartitionSpec) -> Array:
    """Return an array split as the spec says; left to XLA where the spec names no axis."""
    return x if all(axes is None for axes in spec) else jax.lax.with_sharding_constraint(x, spec)


def _token_spec(shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """Return the spec of tokens `[B, L, D]` or `[B, L, N, H]`."""
    rows, tokens = _dividing(ROW_AXES, shape[0], mesh), _dividing((TOKEN_AXIS,), shape[1], mesh)
    return PartitionSpec(rows, tokens, _dividing((HEAD_AXIS,), shape[2], mesh) if len(shape) == 4 else None)
