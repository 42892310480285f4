"""Captions with a question and its answer, separated by a mark: `what moves? <answer> a red circle`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mmvideo.model.fusion.unmask import original_text_ids, text_offset
from mmvideo.objectives.generation.text_generation import Prompt
from mmvideo.stream import PADDING, Modality, TokenStream


def answering(stream: TokenStream, mark: int) -> Bool[Array, "B L"]:
    """Return a mask of the tokens of first captions from the mark on; each precedes a token of an answer."""
    caption = _first_captions(stream)
    end = jnp.iinfo(jnp.int32).max
    found = caption & (_text_ids(stream) == mark)
    slots, place = stream.clips.clip_index.shape[1], stream.layout.grid[..., 2]
    # `own` is [B, E, L]: the tokens of each clip. `first` is the step of the first mark of each clip, or the largest
    # int32 where there is none. Tokens q <answer> a at steps [1, 2, 3]: first is 2, and steps 2 and 3 are marked.
    own = stream.layout.clip[:, None] == jnp.arange(slots)[:, None]
    first = jnp.where(own & found[:, None], place[:, None], end).min(axis=-1)
    return caption & (place >= jnp.take_along_axis(first, jnp.maximum(stream.layout.clip, 0), axis=1))


def questions(stream: TokenStream, mark: int, length: int) -> Prompt:
    """Return the first caption of each clip, without its begin mark and up to the mark; length 0 without a mark.

    Args:
      stream: Stream with the questions; tokens after the mark are ignored.
      mark: Token between question and answer.
      length: Largest length of a text. A question that leaves no space for an answer counts as none.
    """
    layout = stream.layout
    count = length - 1
    slots = stream.clips.clip_index.shape[1]
    # Token 0 of a caption is the begin mark; its other tokens have places 0, 1, … in the prompt. A flat scatter writes
    # place p of clip e to e * count + p; tokens that are not wanted go to slots * count, which `drop` leaves out.
    place = jnp.where(_first_captions(stream), layout.grid[..., 2] - 1, PADDING)
    at = jnp.where((place >= 0) & (place < count), layout.clip * count + place, slots * count)

    def put(row: Array, text_tokens: Array) -> Array:
        return jnp.full(slots * count, PADDING, jnp.int32).at[row].set(text_tokens, mode="drop")

    text_tokens = jax.vmap(put)(at, _text_ids(stream)).reshape(len(at), slots, count)
    marked = text_tokens == mark
    until = jnp.where(marked.any(axis=-1), marked.argmax(axis=-1) + 1, 0)
    return Prompt(jnp.maximum(text_tokens, 0), jnp.where(until < count, until, 0).astype(jnp.int32))


def _first_captions(stream: TokenStream) -> Bool[Array, "B L"]:
    layout = stream.layout
    return (layout.modality == Modality.TEXT) & (layout.grid[..., 1] == 0)


def _text_ids(stream: TokenStream) -> Int[Array, "B L"]:
    """Return the text token of each position of the layout, also where it is hidden."""
    text_tokens = original_text_ids(stream)
    slot = jnp.clip(stream.layout.source_index - text_offset(stream), 0, text_tokens.shape[1] - 1)
    return jnp.take_along_axis(text_tokens, slot, axis=1)
