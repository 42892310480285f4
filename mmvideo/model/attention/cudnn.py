"""Attention by cuDNN's fused kernel, through `jax.nn.dot_product_attention`.

cuDNN knows no spans, but two of its features serve instead:

- Lengths, for a row of one clip that attends to all of itself: the span of every token is `[0, n)`, and the kernel gets
  `n`. Memory is linear in the length.
- A bias that masks the keys outside of any other spans. The kernel is fused too, but the bias takes `B L^2` elements,
  which is what the reference takes for one head.

The choice must be known before the program runs; the argument `whole` makes it.

Tested on an H100 (jax 0.11.2), and on a CPU with XLA in place of cuDNN, in values and gradients;
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
    """Return attention in which each query attends to its span.

    Args:
      q, k, v: bfloat16 or float16; scores are divided by `sqrt(H)`.
      spans: `[start, end)` for each query, at least one key each.
      whole: a promise: there is a query for each key, the first `n` tokens of a row attend to `[0, n)`, and each later
        token only to itself.
      implementation: `xla` computes the same with XLA, for tests.
    """
    if whole:
        return _lengths(q, k, v, spans[:, 0, 1], implementation)
    return _bias(q, k, v, spans, implementation)


def _lengths(q: Array, k: Array, v: Array, count: Int[Array, " B"], implementation: str) -> Array:
    """Return attention in which the first `count` tokens of a row attend to each other."""
    real = (jnp.arange(q.shape[1]) < count[:, None])[..., None, None]
    # The kernel's output for padding is undefined, in the gradients too. Both `where` keep it out: padding enters as
    # zero, and its output is replaced by its own value `v`, as a token that attends only to itself has it.
    zeroed = (jnp.where(real, x, 0) for x in (q, k, v))
    mixed = jax.nn.dot_product_attention(
        *zeroed, query_seq_lengths=count, key_value_seq_lengths=count, implementation=implementation
    )
    return jnp.where(real, mixed, v)


def _bias(q: Array, k: Array, v: Array, spans: Array, implementation: str) -> Array:
    """Return attention for any spans, by a bias.

    The kernel's gradient needs even lengths. An added query attends to the first key, and no query attends to an added
    key.
    """
    queries = q.shape[1]
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
    first = jnp.broadcast_to(jnp.asarray([0, 1], spans.dtype), (len(spans), queries % 2, 2))
    mask = span_mask(jnp.concatenate([spans, first], axis=1), k.shape[1])
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=implementation)[:, :queries]


def cudnn_unsupported_reason(platform: str, dtype: Any, head: int, soft_cap: float | None) -> str | None:
    """Return the reason why cuDNN can't compute a call, or None if it can."""
    if platform != "gpu" or "NVIDIA" not in jax.devices()[0].device_kind:
        return "it needs an NVIDIA GPU"
    if soft_cap is not None:
        return "it can't cap scores (model.block.soft_cap)"
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"it computes in bfloat16 or float16, not in {jnp.dtype(dtype).name} (model.compute)"
    # Hopper and later support heads of width up to 256, older GPUs up to 128.
    widest = 256 if float(jax.devices()[0].compute_capability) >= 9 else 128
    if head % 8 or head > widest:
        return f"it needs heads whose width is a multiple of 8 and at most {widest}, not {head}"
    return None
