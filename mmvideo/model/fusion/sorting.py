"""Sorting of tokens on the device: tokens in any order are sorted to the order that a layout promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmvideo.stream import MODALITIES, TokenLayout


def clip_order(layout: TokenLayout) -> Int[Array, "B L"]:
    """Return the indices that sort tokens by clip and modality, with padding last.

    Tokens of one modality of a clip keep their order.
    """
    # Example: clips [1 0 0 -1], modalities [0 2 0 -1]: keys [3 2 0 ∞], order [2 1 0 3].
    key = layout.clip * len(MODALITIES) + layout.modality
    return jnp.argsort(jnp.where(layout.is_token, key, jnp.iinfo(jnp.int32).max), axis=1, stable=True)


def take_tokens(layout: TokenLayout, index: Int[Array, "B K"]) -> TokenLayout:
    """Return the layout of the tokens at these indices of each row."""

    def gathered(values: Array) -> Array:
        return jnp.take_along_axis(values, index if values.ndim == 2 else index[..., None], axis=1)

    return jax.tree.map(gathered, layout)


def join_rows(first: TokenLayout, second: TokenLayout) -> TokenLayout:
    """Concatenate two layouts of the same rows."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), first, second)
