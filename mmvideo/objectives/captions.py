"""The captions of a clip, each by itself."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmvideo.model.pool import pool
from mmvideo.stream import PADDING, Layout, Modality


def pool_captions(
    tokens: Float[Array, "B L D"], layout: Layout, clips: int, captions: int
) -> tuple[Float[Array, "B E k D"], Bool[Array, "B E k"]]:
    """The mean over the tokens of each caption, and which captions there are.

    Args:
      tokens: features in the rows of `layout`.
      layout: of which clip and caption each token is.
      clips: clip slots of a row, `E`.
      captions: of a clip at most; any beyond them are left out.
    """
    pooled, has = pool(tokens, by_caption(layout, captions), ("text",), clips * captions)
    return pooled.reshape(-1, clips, captions, pooled.shape[-1]), has.reshape(-1, clips, captions)


def by_caption(layout: Layout, captions: int) -> Layout:
    """The layout of text only, in which every caption is a clip: caption `k` of clip `e` is clip `e * captions + k`."""
    own = (layout.modality == Modality.TEXT) & (layout.grid[..., 1] < captions)
    return dataclasses.replace(layout, clip=jnp.where(own, layout.clip * captions + layout.grid[..., 1], PADDING))
