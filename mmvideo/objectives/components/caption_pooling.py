"""The captions of a clip, each by itself; and which clips of a batch say the same."""

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


def by_caption(layout: TokenLayout, captions: int) -> TokenLayout:
    """The layout of text only, in which every caption is a clip: caption `k` of clip `e` is clip `e * captions + k`."""
    own = (layout.modality == Modality.TEXT) & (layout.grid[..., 1] < captions)
    return dataclasses.replace(layout, clip=jnp.where(own, layout.clip * captions + layout.grid[..., 1], PADDING))


def same_captions(stream: TokenStream, among: Bool[Array, " n"]) -> Int[Array, " n"]:
    """For every clip slot of a batch the first slot whose text is equal, its own where it is not `among` them.

    Texts are equal where their pieces are, one behind the other, hidden ones included. They are compared by two
    hashes of 32 bits each. Of slots with the texts `a b a - b`, of which the fourth is not among them, that is
    `0 1 0 3 1`.
    """
    first, second = (_text_hash(stream, seed).reshape(-1) for seed in (0x9E3779B9, 0x85EBCA6B))
    slot = jnp.arange(len(among))
    order = jnp.lexsort((slot, second, first, ~among))
    keys = [key[order] for key in (first, second, among)]
    same = jnp.stack([key[1:] == key[:-1] for key in keys]).all(axis=0) & keys[-1][1:]
    begins = jnp.concatenate([jnp.ones(1, bool), ~same])
    start = jax.lax.cummax(jnp.where(begins, slot, 0))
    return jnp.zeros_like(slot).at[order].set(order[start])


def count_same(alike: Int[Array, " n"], valid: Bool[Array, " n"]) -> Int[Array, " n"]:
    """How many other valid slots of `same_captions` say the same."""
    count = jax.ops.segment_sum(valid.astype(jnp.int32), alike, len(alike))
    return jnp.where(valid, count[alike] - 1, 0)


def _text_hash(stream: TokenStream, seed: int) -> UInt32[Array, "B E"]:
    """A number of each clip's text: the sum over its pieces of a mix of piece and place."""
    layout, text_tokens = stream.layout, original_text_ids(stream)
    own = layout.modality == Modality.TEXT
    at = jnp.where(own, layout.source_index - text_offset(stream), 0)
    piece = jnp.take_along_axis(text_tokens, at, axis=1).astype(jnp.uint32)
    word = piece * jnp.uint32(0x01000193)
    for axis in range(layout.grid.shape[-1]):
        word = _mixed((word ^ layout.grid[..., axis].astype(jnp.uint32)) + jnp.uint32(seed))
    member = own[:, None] & (layout.clip[:, None] == jnp.arange(stream.clips.clip_index.shape[1])[:, None])
    return jnp.where(member, word[:, None], jnp.uint32(0)).sum(axis=-1, dtype=jnp.uint32)


def _mixed(x: UInt32[Array, "*n"]) -> UInt32[Array, "*n"]:
    """The finaliser of MurmurHash3 (Appleby), which spreads every bit of a number over all of them."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
