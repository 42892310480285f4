"""What every backend of attention does to a score before the softmax: cap it, or hide it."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

MASKED_SCORE = -1e30
"""Score of a key outside the span: finite, so that no row of scores is all minus infinity."""


def apply_soft_cap(scores: Array, soft_cap: float | None) -> Array:
    """`c tanh(scores / c)`: scores kept within `(-c, c)`, close to themselves where they are small.

    As Gemma 2 (Gemma Team 2024, section 2) and VideoPrism (c = 50) cap them; None leaves them.
    """
    return scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)


def span_mask(spans: Int[Array, "B Q 2"], keys: int) -> Bool[Array, "B 1 Q K"]:
    """The mask of a span: True where a query sees a key, the same for all heads."""
    place = jnp.arange(keys, dtype=spans.dtype)
    return ((place >= spans[..., :1]) & (place < spans[..., 1:]))[:, None]
