"""Captions that are a question and its answer, with a mark between them: `what moves? <answer> a red circle`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mmvideo.model.fusion.unmask import original_text_ids, text_offset
from mmvideo.objectives.generation.text_generation import Prompt
from mmvideo.stream import PADDING, Modality, TokenStream


def answering(stream: TokenStream, mark: int) -> Bool[Array, "B L"]:
    """Which tokens of first captions are the mark or stand behind it: what follows each of them is of an answer."""
    caption, end = _first_captions(stream), jnp.iinfo(jnp.int32).max
    found = caption & (_pieces(stream) == mark)
    slots, place = stream.clips.clip_index.shape[1], stream.layout.grid[..., 2]
    own = stream.layout.clip[:, None] == jnp.arange(slots)[:, None]
    first = jnp.where(own & found[:, None], place[:, None], end).min(axis=-1)
    return caption & (place >= jnp.take_along_axis(first, jnp.maximum(stream.layout.clip, 0), axis=1))


def questions(stream: TokenStream, mark: int, length: int) -> Prompt:
    """The first caption of each clip from behind its begin mark to the mark, both included; length 0 without a mark.

    Args:
      stream: with the questions; what stands behind the mark is not looked at.
      mark: the piece between question and answer.
      length: of a text at most; a question that leaves no room for an answer counts as none.
    """
    layout, count = stream.layout, length - 1
    slots = stream.clips.clip_index.shape[1]
    # A caption's piece 0 is the begin mark.
    place = jnp.where(_first_captions(stream), layout.grid[..., 2] - 1, PADDING)
    at = jnp.where((place >= 0) & (place < count), layout.clip * count + place, slots * count)

    def put(row: Array, text_tokens: Array) -> Array:
        return jnp.full(slots * count, PADDING, jnp.int32).at[row].set(text_tokens, mode="drop")

    text_tokens = jax.vmap(put)(at, _pieces(stream)).reshape(len(at), slots, count)
    marked = text_tokens == mark
    until = jnp.where(marked.any(axis=-1), marked.argmax(axis=-1) + 1, 0)
    return Prompt(jnp.maximum(text_tokens, 0), jnp.where(until < count, until, 0).astype(jnp.int32))


def _first_captions(stream: TokenStream) -> Bool[Array, "B L"]:
    layout = stream.layout
    return (layout.modality == Modality.TEXT) & (layout.grid[..., 1] == 0)


def _pieces(stream: TokenStream) -> Int[Array, "B L"]:
    """The piece of each token of text, also of a hidden one."""
    text_tokens = original_text_ids(stream)
    slot = jnp.clip(stream.layout.source_index - text_offset(stream), 0, text_tokens.shape[1] - 1)
    return jnp.take_along_axis(text_tokens, slot, axis=1)
