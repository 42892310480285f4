"""Rows made anew on the device: tokens of any order brought to the order that a layout promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmvideo.stream import MODALITIES, TokenLayout


def clip_order(layout: TokenLayout) -> Int[Array, "B L"]:
    """Places of the tokens such that each clip's stand together, modality by modality, padding last.

    Tokens of one modality of a clip stay in the order in which they are given.
    """
    number = layout.clip * len(MODALITIES) + layout.modality
    return jnp.argsort(jnp.where(layout.is_token, number, jnp.iinfo(jnp.int32).max), axis=1, stable=True)


def take_tokens(layout: TokenLayout, place: Int[Array, "B K"]) -> TokenLayout:
    """The layout of the tokens at these places of each row."""

    def taken(values: Array) -> Array:
        return jnp.take_along_axis(values, place if values.ndim == 2 else place[..., None], axis=1)

    return jax.tree.map(taken, layout)


def join_rows(first: TokenLayout, second: TokenLayout) -> TokenLayout:
    """Two layouts of the same rows, one behind the other."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), first, second)
