"""The captions of a clip, each by itself."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmvideo.model.features import Features
from mmvideo.model.pool import Pooler
from mmvideo.stream import PADDING, Layout, Modality


def pool_captions(
    pooler: Pooler, features: Features, clips: int, captions: int
) -> tuple[Float[Array, "B E k D"], Bool[Array, "B E k"]]:
    """A vector for each caption, where text has met nobody else, and which captions there are.

    Args:
      pooler: of the kind `mean` or `map`.
      features: of the trunk.
      clips: clip slots of a row, `E`.
      captions: of a clip at most; any beyond them are left out.
    """
    apart = dataclasses.replace(features, layout=by_caption(features.layout, captions))
    pooled, has = pooler(apart, features.tap(("text",)), ("text",), clips * captions)
    return pooled.reshape(-1, clips, captions, pooled.shape[-1]), has.reshape(-1, clips, captions)


def by_caption(layout: Layout, captions: int) -> Layout:
    """The layout of text only, in which every caption is a clip: caption `k` of clip `e` is clip `e * captions + k`."""
    own = (layout.modality == Modality.TEXT) & (layout.grid[..., 1] < captions)
    return dataclasses.replace(layout, clip=jnp.where(own, layout.clip * captions + layout.grid[..., 1], PADDING))
