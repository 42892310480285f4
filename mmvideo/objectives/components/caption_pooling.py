"""Pooling of each caption of a clip by itself, and search for equal captions in a batch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from mmvideo.model.features import Features
from mmvideo.model.fusion.unmask import original_text_ids, text_offset
from mmvideo.model.pool import Pooler
from mmvideo.stream import PADDING, Modality, TokenLayout, TokenStream


def pool_captions(
    pooler: Pooler, features: Features, clips: int, captions: int
) -> tuple[Float[Array, "B E k D"], Bool[Array, "B E k"]]:
    """Return a vector for each caption from before fusion, and a mask of the captions that exist.

    Args:
      pooler: Pooler of the kind `mean` or `map`.
      features: Features of the backbone.
      clips: Clip slots of a row, `E`.
      captions: Largest number of captions of a clip; any more are left out.
    """
    apart = dataclasses.replace(features, layout=by_caption(features.layout, captions))
    pooled, has = pooler(apart, features.tap(("text",)), ("text",), clips * captions)
    return pooled.reshape(-1, clips, captions, pooled.shape[-1]), has.reshape(-1, clips, captions)


def by_caption(layout: TokenLayout, captions: int) -> TokenLayout:
    """Return a layout of text only, in which caption `k` of clip `e` is clip `e * captions + k`."""
    # With 2 captions a clip, clips [0, 0, 1] and captions [0, 1, 0] give clips [0, 1, 2]; all other tokens get PADDING.
    own = (layout.modality == Modality.TEXT) & (layout.grid[..., 1] < captions)
    return dataclasses.replace(layout, clip=jnp.where(own, layout.clip * captions + layout.grid[..., 1], PADDING))


def same_captions(stream: TokenStream, among: Bool[Array, " n"]) -> Int[Array, " n"]:
    """Return, for every clip slot of a batch, the first slot with equal text.

    A slot that is not `among` the compared ones gets itself. Texts are equal if their tokens are, in order and hidden
    ones included. They are compared by two hashes of 32 bits each. For slots with the texts `a b a - b`, of which the
    fourth is not among them, the result is `0 1 0 3 1`.
    """
    first, second = (_text_hash(stream, seed).reshape(-1) for seed in (0x9E3779B9, 0x85EBCA6B))
    slot = jnp.arange(len(among))
    # The last key sorts first: counted slots come before the others, equal texts become neighbours, and lower slots
    # lead. Texts a b a - b with hashes a < b: order [0, 2, 1, 4, 3], begins [1, 0, 1, 0, 1], start [0, 0, 2, 2, 4], and
    # order[start] = [0, 0, 1, 1, 3], which the last line scatters back to the slots.
    order = jnp.lexsort((slot, second, first, ~among))
    keys = [key[order] for key in (first, second, among)]
    same = jnp.stack([key[1:] == key[:-1] for key in keys]).all(axis=0) & keys[-1][1:]
    begins = jnp.concatenate([jnp.ones(1, bool), ~same])
    start = jax.lax.cummax(jnp.where(begins, slot, 0))
    return jnp.zeros_like(slot).at[order].set(order[start])


def count_same(alike: Int[Array, " n"], valid: Bool[Array, " n"]) -> Int[Array, " n"]:
    """Return the number of other valid slots of `same_captions` with equal text."""
    # alike [0, 1, 0], all valid: counts [2, 1, 0], so the result is [1, 0, 1].
    count = jax.ops.segment_sum(valid.astype(jnp.int32), alike, len(alike))
    return jnp.where(valid, count[alike] - 1, 0)


def _text_hash(stream: TokenStream, seed: int) -> UInt32[Array, "B E"]:
    """Return a hash of the text of each clip: the sum over its tokens of a mix of token and position."""
    layout = stream.layout
    text_tokens = original_text_ids(stream)
    own = layout.modality == Modality.TEXT
    at = jnp.where(own, layout.source_index - text_offset(stream), 0)
    token_id = jnp.take_along_axis(text_tokens, at, axis=1).astype(jnp.uint32)
    # The position is mixed into each token, because a sum alone would not see their order.
    word = token_id * jnp.uint32(0x01000193)
    for axis in range(layout.grid.shape[-1]):
        word = _mixed((word ^ layout.grid[..., axis].astype(jnp.uint32)) + jnp.uint32(seed))
    member = own[:, None] & (layout.clip[:, None] == jnp.arange(stream.clips.clip_index.shape[1])[:, None])
    return jnp.where(member, word[:, None], jnp.uint32(0)).sum(axis=-1, dtype=jnp.uint32)


def _mixed(x: UInt32[Array, "*n"]) -> UInt32[Array, "*n"]:
    """Apply the finaliser of MurmurHash3 (Appleby), which spreads every bit of a number over all of them."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
