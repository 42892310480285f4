"""The attention of `tokamax_attention` as calls without a body, for programs that are compiled and never run.

The kernels themselves can be built only where their device is. What XLA makes of a step around them can be told
without: here stand calls of the same operands and results as those of tokamax's Mosaic kernels for Hopper (0.0.17,
`pallas_mosaic_gpu*.py`), which carry the sizes of their blocks, and what tokamax itself computes around them by XLA:
the first and the last key of each block of queries and, in the gradient, the sum of what came out times its gradient
for each query.

Nothing is registered under the names of the calls: a program with them ends with an error where it is run.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmvideo.model.attention.tokamax import BLOCK, filled
from mmvideo.model.attention.tokamax_blocks import Blocks, nearest_blocks

CALLS = {
    "forward": "mmvideo_attention_forward",
    "queries": "mmvideo_attention_backward_queries",
    "keys": "mmvideo_attention_backward_keys",
}
"""What the calls are named in a program: forward, gradient of queries, gradient of keys and values."""

DEFAULT = Blocks(0, 0, {"block_q": 64, "block_kv": 128}, {"block_q": 64, "block_kv": 64}, (0, 0))
"""tokamax's own rule for Hopper where nothing is tuned."""

EIGHT = 8
"""Lengths are filled up to a multiple of it in the gradient."""


def tokamax_shapes(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
) -> Float[Array, "B Q N H"]:
    """Return the shapes that `tokamax_attention` returns on a Hopper GPU, from the same arguments."""
    blocks = nearest_blocks(q.shape[3], k.shape[1]) or DEFAULT
    k, v = (filled(x, BLOCK) for x in (k, v))
    sizes = [(each["block_q"], each["block_kv"]) for each in (blocks.forward, blocks.backward)]
    return _attention(q, k, v, spans, tuple(sizes))


Sizes = tuple[tuple[int, int], tuple[int, int]]
"""Queries and keys of a block, forwards and backwards."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(q: Array, k: Array, v: Array, spans: Array, sizes: Sizes) -> Array:
    return _forward(q, k, v, spans, sizes)[0]


def _forward(q: Array, k: Array, v: Array, spans: Array, sizes: Sizes) -> tuple[Array, tuple]:
    batch, length, heads, head = q.shape
    block_q, _ = sizes[0]
    rows = -(-length // (2 * block_q)) * 2 * block_q
    first, last = spans[:, None, :, 0], jnp.minimum(spans[:, None, :, 1], k.shape[1])
    # A block of queries belongs to a group of threads, of which there are two.
    ranges = [_ends(each, k.shape[1], 2 * block_q) for each in (first, last)]
    sums = jax.ShapeDtypeStruct((batch, heads, rows), jnp.float32)
    results = (jax.ShapeDtypeStruct((batch, length, heads, head), q.dtype), sums, sums)
    call = jax.ffi.ffi_call(CALLS["forward"], results)
    out, most, total = call(q, k, v, first, last, *ranges[0], *ranges[1], **_attributes(sizes[0]))
    return out, (q, k, v, spans, out, most[..., :length], total[..., :length])


def _backward(sizes: Sizes, kept: tuple, gradient: Array) -> tuple:
    q, k, v, spans, out, most, total = kept
    queries, keys = q.shape[1], k.shape[1]
    q, k, v, out, gradient = (_filled(x, EIGHT, 1) for x in (q, k, v, out, gradient))
    most, total = _filled(most, EIGHT, 2, jnp.inf), _filled(total, EIGHT, 2, 1.0)
    first, last = (_filled(spans[:, None, :, end], EIGHT, 2) for end in range(2))
    inner = jnp.einsum("bqnh,bqnh->bnq", out, gradient, preferred_element_type=jnp.float32)
    operands = (q, k, v, gradient, most, total, inner, first, last)
    like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v)]
    (d_q,) = jax.ffi.ffi_call(CALLS["queries"], like[:1])(*operands, **_attributes(sizes[1]))
    d_k, d_v = jax.ffi.ffi_call(CALLS["keys"], like[1:])(*operands, **_attributes(sizes[1]))
    return d_q[:, :queries], d_k[:, :keys], d_v[:, :keys], np.zeros(spans.shape, jax.dtypes.float0)


_attention.defvjp(_forward, _backward, optimize_remat=True)


def _attributes(sizes: tuple[int, int]) -> dict[str, np.int32]:
    """Return the sizes of its blocks as attributes of a call."""
    return {name: np.int32(size) for name, size in zip(("block_q", "block_kv"), sizes, strict=True)}


def _filled(x: Array, multiple: int, axis: int, value: float | int = 0) -> Array:
    """`x` with more of a value behind it along an axis, up to a multiple."""
    more = [(0, 0)] * x.ndim
    more[axis] = (0, -x.shape[axis] % multiple)
    return jnp.pad(x, more, constant_values=value)


def _ends(ends: Int[Array, "B 1 Q"], keys: int, block: int) -> tuple[Array, Array]:
    """The least and the greatest of each block of queries."""
    parts = [_filled(ends, block, 2, fill).reshape(*ends.shape[:2], -1, block) for fill in (keys, 0)]
    return parts[0].min(axis=-1), parts[1].max(axis=-1)
