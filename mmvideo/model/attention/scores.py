"""Operations on attention scores before the softmax, shared by the backends: cap and mask."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

MASKED_SCORE = -1e30
"""Score of a key outside the span: finite, so that no row of scores is all minus infinity."""


def apply_soft_cap(scores: Array, soft_cap: float | None) -> Array:
    """Return `c tanh(scores / c)`, which bounds scores to `(-c, c)` and leaves small ones nearly unchanged.

    Gemma 2 (Gemma Team 2024, section 2) and VideoPrism (c = 50) cap scores like this; None leaves them unchanged.
    """
    return scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)


def span_mask(spans: Int[Array, "B Q 2"], keys: int) -> Bool[Array, "B 1 Q K"]:
    """Return the mask of the spans: True where a query attends to a key, the same for all heads."""
    # Example: span [1, 3) of 4 keys is [0, 1, 1, 0].
    index = jnp.arange(keys, dtype=spans.dtype)
    return ((index >= spans[..., :1]) & (index < spans[..., 1:]))[:, None]
