"""Attention by the splash kernel for TPUs: flash attention that computes its mask from an array per query.

The masks of splash attention must be known when a program is built, and spans are not. But the kernel passes to its
mask function an array, normally the index of each query, and nothing requires it to be the index. Here it holds the
span, both ends packed into one int32, so any spans are exact. The kernel visits all blocks of keys, those outside the
spans too: memory is linear in the length, but packed rows take no less time.

Tested in the interpreter of Pallas on a CPU, in values and gradients, and lowered for a TPU. It has not run on one;
`tests/model/attention/test_backends.py` compares it with the reference where there is a TPU.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LONGEST = 2**16 - 1
"""Tokens of the longest row: each end of a span has 16 bits."""

BLOCKS = (512, 256, 128)
"""Block sizes in tokens: the largest that divides the row is used; a row is padded to a multiple of the smallest."""


def splash_attention(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
    *,
    soft_cap: float | None = None,
    interpret: bool = False,
) -> Float[Array, "B Q N H"]:
    """Return attention in which each query attends to its span.

    Args:
      q, k, v: queries, keys, values; scores are divided by `sqrt(H)`.
      spans: `[start, end)` for each query, at least one key each.
      soft_cap: see `mmvideo.model.attention.scores.apply_soft_cap`.
      interpret: runs the kernel step by step on any platform, for tests.
    """
    queries = q.shape[1]
    # Example: span [2, 5) is 2 * 65536 + 5. The sign bit may be set by a start of 2^15 or more; `_within` shifts
    # logically, so it does not matter.
    packed = (spans[..., 0] << 16) | spans[..., 1]
    # The packed span 1 is [0, 1): an added query attends to the first key, so that its softmax is finite.
    packed = jnp.pad(packed, ((0, 0), (0, -queries % BLOCKS[-1])), constant_values=1)
    heads_first = (
        jnp.moveaxis(jnp.pad(x, ((0, 0), (0, -x.shape[1] % BLOCKS[-1]), (0, 0), (0, 0))), 2, 1)
        for x in (q * q.shape[-1] ** -0.5, k, v)
    )

    def row(packed: Array, q: Array, k: Array, v: Array) -> Array:
        return _kernel(packed, k.shape[1], soft_cap, interpret)(q, k, v)

    return jnp.moveaxis(jax.vmap(row)(packed, *heads_first), 1, 2)[:, :queries].astype(v.dtype)


def _kernel(packed: Int[Array, " Q"], keys: int, soft_cap: float | None, interpret: bool):
    """Return the kernel of one row; all three passes compute the mask from the same packed spans."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as info

    of_queries, of_keys = (next(size for size in BLOCKS if count % size == 0) for count in (len(packed), keys))
    mask = info.MaskInfo(None, None, None, None, q_sequence=packed)
    return kernel.SplashAttentionKernel(
        mask,
        mask,
        mask,
        block_sizes=kernel.BlockSizes(
            block_q=of_queries,
            block_kv=of_keys,
            block_q_dkv=of_queries,
            block_kv_dkv=of_keys,
            block_q_dq=of_queries,
            block_kv_dq=of_keys,
        ),
        is_mqa=False,
        save_residuals=False,
        mask_value=kernel.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=soft_cap,
        residual_checkpoint_name="attended",
        mask_function=_within,
        interpret=interpret,
    )


def _within(packed: Array, key: Array) -> Array:
    """Return whether a key is in the packed span of a query."""
    return (key >= jax.lax.shift_right_logical(packed, 16)) & (key < (packed & LONGEST))


def splash_unsupported_reason(platform: str, length: int) -> str | None:
    """Return the reason why splash attention can't compute a call, or None if it can."""
    if platform != "tpu":
        return "it needs a TPU"
    if length > LONGEST:
        return f"it supports rows of at most {LONGEST} tokens, not {length}"
    return None
