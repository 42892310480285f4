"""Tokens of a row restored to the grid of their clip: frames, spectrograms and texts as arrays.

Letters: `T Y X` cells of a grid, `P` elements of a patch.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int, Num

from mmvideo.model.sharding import by_rows
from mmvideo.stream import MODALITIES, PatchSpec, TextSpec, TokenStream

Images = tuple[Float[Array, "B E F H W c"], Bool[Array, "B E F"]]
"""Images of every clip, and a mask of those that are present."""


@dataclasses.dataclass(frozen=True)
class Canvas:
    """One modality of every clip slot on the largest grid of the run.

    Attributes:
      content: patches `[B, E, T, Y, X, P]` or text token ids `[B, E, T, Y, X]`; 0 in empty cells.
      present: mask of the cells that hold a token.
    """

    content: Num[Array, "B E T Y X *P"]
    present: Bool[Array, "B E T Y X"]


def canvas(stream: TokenStream, name: str, grid: tuple[int, int, int]) -> Canvas | None:
    """Return a modality's tokens in their cells; None if the stream does not hold the modality.

    Content that the encoder does not see (hidden or dropped tokens, a clip shorter than the grid) is absent. Tokens
    outside of the grid are left out.

    Args:
      stream: the batch.
      name: name of the modality.
      grid: cells `(T, Y, X)`.
    """
    if name not in stream.content:
        return None
    content = stream.content[name]
    layout = stream.layout
    slots = stream.clips.clip_index.shape[1]
    cells = grid[0] * grid[1] * grid[2]
    inside = (layout.grid < jnp.array(grid)).all(axis=-1) & (layout.modality == MODALITIES.index(name))
    cell = (layout.grid * jnp.array([grid[1] * grid[2], grid[2], 1])).sum(axis=-1)
    # Example: grid (2, 1, 3) has 6 cells a clip: cell (1, 0, 2) of clip 1 has index 1 * 6 + 1 * 3 + 0 * 3 + 2 = 11.
    # Tokens of other modalities and padding get an index out of bounds, so that the scatter leaves them out.
    index = jnp.where(inside, layout.clip * cells + cell, slots * cells)
    source = _sources(layout.source_index - _offset(stream, name), index, slots * cells)
    present = source >= 0
    source = jnp.maximum(source, 0).reshape(*source.shape, *[1] * (content.ndim - 2))
    found = jnp.take_along_axis(content, source, axis=1)
    found = jnp.where(present.reshape(source.shape), found, 0)
    shape = (-1, slots, *grid)
    return Canvas(by_rows(found.reshape(*shape, *content.shape[2:])), by_rows(present.reshape(shape)))


@jax.vmap
def _invert(source: Int[Array, " L"], index: Int[Array, " L"], empty: Int[Array, " n"]) -> Int[Array, " n"]:
    # Example: sources [4, 7] at cell indices [2, 0] of 3 cells give [7, -1, 4].
    return empty.at[index].set(source, mode="drop")


def _sources(source: Int[Array, "B L"], index: Int[Array, "B L"], size: int) -> Int[Array, "B n"]:
    """Return the index of the content of each of `size` cells; -1 for an empty cell."""
    return _invert(source, index, jnp.full((source.shape[0], size), -1, source.dtype))


def _offset(stream: TokenStream, name: str) -> int:
    """Return the index of a modality's first element in the concatenated contents."""
    before = [other for other in MODALITIES[: MODALITIES.index(name)] if other in stream.content]
    return sum(stream.content[other].shape[1] for other in before)


def frames(stream: TokenStream, spec: PatchSpec) -> Images | None:
    """Return the frames of every clip, `c` = 3, pixels in [-1, 1]; grey where a patch is absent.

    A frame is present if any of its patches is.
    """
    found = canvas(stream, "video", spec.grid)
    if found is None:
        return None
    t, y, x, _ = spec.patch
    pixels = jnp.where(found.present[..., None], found.content.astype(jnp.float32) / 127.5 - 1.0, 0)
    pixels = rearrange(pixels, "B E T Y X (t y x c) -> B E (T t) (Y y) (X x) c", t=t, y=y, x=x)
    return pixels, repeat(found.present.any(axis=(-2, -1)), "B E T -> B E (T t)", t=t)


def strips(stream: TokenStream, spec: PatchSpec) -> Images | None:
    """Return the spectrogram of every clip, one strip per time step of the grid, `c` = 1; 0 where a patch is absent.

    Overlapping patches are placed side by side, because a stream does not record their overlap.
    """
    found = canvas(stream, "audio", spec.grid)
    if found is None:
        return None
    strip = rearrange(found.content, "B E T M 1 (t m) -> B E T t (M m) 1", t=spec.patch[0])
    return strip, found.present.any(axis=(-2, -1))


def spectrograms(stream: TokenStream, spec: PatchSpec) -> Images | None:
    """Return the whole spectrogram of every clip as one image, with time downwards."""
    found = strips(stream, spec)
    if found is None:
        return None
    return rearrange(found[0], "B E T t m c -> B E 1 (T t) m c"), found[1].any(axis=-1, keepdims=True)


def texts(stream: TokenStream, spec: TextSpec) -> tuple[Int[Array, "B E k S"], Bool[Array, "B E k S"]] | None:
    """Return the captions of every clip, and a mask of their tokens."""
    found = canvas(stream, "text", (1, spec.captions, spec.length))
    return None if found is None else (found.content[:, :, 0], found.present[:, :, 0])
