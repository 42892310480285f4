"""Attention by cuDNN's fused kernel, through `jax.nn.dot_product_attention`.

cuDNN knows no spans, but two things that serve:

- a row that is one clip which sees all of itself: the span of every token is `[0, n)`, and the kernel is
  told `n`. Memory is linear in the length.
- any other spans: a bias that hides what is outside them. The kernel is fused all the same, but the bias
  takes `B L^2` numbers, one head's worth of what the reference keeps.

Which of the two it is must be known before the program runs; `whole` says so.

Run so far: on an H100 (jax 0.11.2), and on a CPU with XLA in the place of cuDNN, in values and gradients;
`tests/model/attention/test_backends.py` compares it with the reference.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmvideo.model.attention.scores import span_mask


def cudnn_attention(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
    *,
    whole: bool,
    implementation: str = "cudnn",
) -> Float[Array, "B Q N H"]:
    """Attention in which each query sees its span.

    Args:
      q, k, v: bfloat16 or float16; scores are divided by `sqrt(H)`.
      spans: `[start, end)` for each query, at least one key each.
      whole: a promise: there is a query for each key, the first `n` tokens of a row see `[0, n)`, and each behind
        them itself alone.
      implementation: `xla` computes the same with XLA, for tests.
    """
    if whole:
        return _lengths(q, k, v, spans[:, 0, 1], implementation)
    return _bias(q, k, v, spans, implementation)


def _lengths(q: Array, k: Array, v: Array, count: Int[Array, " B"], implementation: str) -> Array:
    """The first `count` tokens of a row see each other."""
    real = (jnp.arange(q.shape[1]) < count[:, None])[..., None, None]
    # The kernel leaves open what it writes for padding, also in the gradients: nothing of that is let through.
    zeroed = (jnp.where(real, x, 0) for x in (q, k, v))
    mixed = jax.nn.dot_product_attention(
        *zeroed, query_seq_lengths=count, key_value_seq_lengths=count, implementation=implementation
    )
    return jnp.where(real, mixed, v)


def _bias(q: Array, k: Array, v: Array, spans: Array, implementation: str) -> Array:
    """Any spans. The kernel's gradient needs even lengths: a query more sees the first key, a key more is unseen."""
    queries = q.shape[1]
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
    first = jnp.broadcast_to(jnp.asarray([0, 1], spans.dtype), (len(spans), queries % 2, 2))
    mask = span_mask(jnp.concatenate([spans, first], axis=1), k.shape[1])
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=implementation)[:, :queries]


def cudnn_unsupported_reason(platform: str, dtype: Any, head: int, soft_cap: float | None) -> str | None:
    """Why cuDNN can't do it, or None if it can."""
    if platform != "gpu" or "NVIDIA" not in jax.devices()[0].device_kind:
        return "it needs an NVIDIA GPU"
    if soft_cap is not None:
        return "it can't cap scores (model.block.soft_cap)"
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"it computes in bfloat16 or float16, not in {jnp.dtype(dtype).name} (model.compute)"
    # Hopper and later take heads of up to 256 numbers, older GPUs up to 128.
    widest = 256 if float(jax.devices()[0].compute_capability) >= 9 else 128
    if head % 8 or head > widest:
        return f"it needs heads whose width is a multiple of 8 and at most {widest}, not {head}"
    return None
