"""Attention in linear memory: a loop over blocks of keys that carries the softmax along.

The forward pass keeps, for each query, the largest score so far, the sum of the exponentials and the mixed values
(online softmax: Milakov and Gimelshein 2018, algorithm 3; Rabe and Staats 2021). The backward pass recomputes each
block's weights from the saved log of the sum (FlashAttention, Dao et al. 2022, appendix B.2). Neither ever holds L x L
elements.

Letters: `Q` queries, `K` keys of a block, `C` blocks.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmvideo.model.attention.scores import apply_soft_cap, span_mask
from mmvideo.model.layers.remat import named

LOWEST = -1e30
"""Initial value of the running maximum: finite, so that a difference of two is never NaN."""


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def chunked_attention(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
    chunk: int,
    soft_cap: float | None = None,
) -> Float[Array, "B Q N H"]:
    """Return attention over blocks of `chunk` keys; memory is O(L chunk) instead of O(L^2).

    Args:
      q, k, v: queries, keys, values; scores are divided by `sqrt(H)`.
      spans: `[start, end)` of the keys that each query attends to, at least one.
      chunk: keys per block, 1 or more.
      soft_cap: see `mmvideo.model.attention.scores.apply_soft_cap`.
    """
    return _forward(q, k, v, spans, chunk, soft_cap)[0]


def _blocks(x: Array, chunk: int) -> Array:
    """Reshape `[B, L, N, H]` to `[C, B, chunk, N, H]`, padded with zeros that no span reaches."""
    batch, length, heads, head = x.shape
    count = -(-length // chunk)
    x = jnp.pad(x, ((0, 0), (0, count * chunk - length), (0, 0), (0, 0)))
    return jnp.moveaxis(x.reshape(batch, count, chunk, heads, head), 1, 0)


def _starts(blocks: Array) -> Array:
    """Return the index in the row of each block's first key, `[C]`."""
    return jnp.arange(blocks.shape[0], dtype=jnp.int32) * blocks.shape[2]


def _scores(q: Array, k: Array, spans: Array, start: Array, soft_cap: float | None) -> tuple[Array, Array]:
    """Return the float32 scores `[B, N, Q, K]` of a block, and the mask of the keys within the spans."""
    scores = jnp.einsum("bqnh,bknh->bnqk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    scores = apply_soft_cap(scores, soft_cap)
    # Spans count keys of the row, the mask keys of the block: span [3, 9) is [-1, 5) in the block that starts at 4.
    return scores, span_mask(spans - start, k.shape[1])


def _forward(q: Array, k: Array, v: Array, spans: Array, chunk: int, soft_cap: float | None) -> tuple[Array, tuple]:
    batch, queries, heads, head = q.shape
    chunk = min(chunk, k.shape[1])
    # Masks depend on spans alone, which all layers share. XLA would compute the masks of every block once, before the
    # scan over layers, and hold them in memory. The barrier ties them to the queries, so each layer recomputes them.
    q, spans = jax.lax.optimization_barrier((q, spans))

    def step(carry, block):
        top, total, mixed = carry
        keys, values, start = block
        scores, seen = _scores(q, keys, spans, start, soft_cap)
        # Example: one query with score 0 in the first block and 2 in the second.
        #   after block 1: top 0, total 1
        #   block 2: new_top 2, shrink e^-2, total 1 * e^-2 + e^0; weights e^-2 / total and 1 / total: a softmax
        new_top = jnp.maximum(top, jnp.where(seen, scores, LOWEST).max(axis=-1))
        weights = jnp.where(seen, jnp.exp(scores - new_top[..., None]), 0.0)
        shrink = jnp.exp(top - new_top)
        part = jnp.einsum("bnqk,bknh->bnqh", weights.astype(v.dtype), values, preferred_element_type=jnp.float32)
        return (new_top, total * shrink + weights.sum(axis=-1), mixed * shrink[..., None] + part), None

    empty = jnp.zeros((batch, heads, queries), jnp.float32)
    carry = (empty + LOWEST, empty, jnp.zeros((batch, heads, queries, head), jnp.float32))
    keys, values = _blocks(k, chunk), _blocks(v, chunk)
    (top, total, mixed), _ = jax.lax.scan(step, carry, (keys, values, _starts(keys)))
    out = named(jnp.moveaxis(mixed / total[..., None], 1, 2).astype(v.dtype), "attended")
    return out, (q, k, v, spans, out, named(top + jnp.log(total), "attended"))


def _backward(chunk: int, soft_cap: float | None, kept: tuple, gradient: Array) -> tuple:
    q, k, v, spans, out, log_total = kept
    length, scale = k.shape[1], q.shape[-1] ** -0.5
    # d softmax: weights * (d weights - sum over keys of weights * d weights), and that sum is gradient . out.
    inner = jnp.einsum("bqnh,bqnh->bnq", gradient, out, preferred_element_type=jnp.float32)

    def step(q_gradient, block):
        keys, values, start = block
        scores, seen = _scores(q, keys, spans, start, soft_cap)
        weights = jnp.where(seen, jnp.exp(scores - log_total[..., None]), 0.0)
        v_gradient = jnp.einsum("bnqk,bqnh->bknh", weights.astype(v.dtype), gradient)
        d_weights = jnp.einsum("bqnh,bknh->bnqk", gradient, values, preferred_element_type=jnp.float32)
        d_scores = weights * (d_weights - inner[..., None]) * scale
        if soft_cap is not None:
            # d tanh = 1 - tanh^2, and the capped scores are soft_cap times the tanh.
            d_scores *= 1.0 - (scores / soft_cap) ** 2
        d_scores = d_scores.astype(q.dtype)
        part = jnp.einsum("bnqk,bknh->bqnh", d_scores, keys, preferred_element_type=jnp.float32)
        k_gradient = jnp.einsum("bnqk,bqnh->bknh", d_scores, q)
        return q_gradient + part, (k_gradient, v_gradient)

    keys, values = _blocks(k, min(chunk, length)), _blocks(v, min(chunk, length))
    q_gradient, (k_parts, v_parts) = jax.lax.scan(step, jnp.zeros(q.shape, jnp.float32), (keys, values, _starts(keys)))
    spans_gradient = np.zeros(spans.shape, jax.dtypes.float0)
    return q_gradient.astype(q.dtype), _joined(k_parts, length), _joined(v_parts, length), spans_gradient


def _joined(blocks: Array, length: int) -> Array:
    """Reshape `[C, B, chunk, N, H]` back to `[B, L, N, H]`, without the padding."""
    count, batch, chunk, heads, head = blocks.shape
    return jnp.moveaxis(blocks, 0, 1).reshape(batch, count * chunk, heads, head)[:, :length]


chunked_attention.defvjp(_forward, _backward)
