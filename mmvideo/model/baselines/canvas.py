"""Tokens of a row put back on the grid of their clip: frames, spectrograms and texts as arrays.

Letters: `T Y X` cells of a grid, `P` numbers in a patch.
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
"""Pictures of every clip, and which of them are there."""


@dataclasses.dataclass(frozen=True)
class Canvas:
    """One modality of every clip slot on the largest grid of the run.

    Attributes:
      content: patches `[B, E, T, Y, X, P]` or text pieces `[B, E, T, Y, X]`; 0 where nothing is.
      present: where a token is.
    """

    content: Num[Array, "B E T Y X *P"]
    present: Bool[Array, "B E T Y X"]


def canvas(stream: TokenStream, name: str, grid: tuple[int, int, int]) -> Canvas | None:
    """A modality's tokens in their cells; None if the stream does not hold the modality.

    What the encoder doesn't see (hidden or dropped tokens, a clip shorter than the grid) is absent.
    Tokens outside of the grid are left out.

    Args:
      stream: the batch.
      name: of the modality.
      grid: cells `(T, Y, X)`.
    """
    if name not in stream.content:
        return None
    content, layout = stream.content[name], stream.layout
    slots, cells = stream.clips.clip_index.shape[1], grid[0] * grid[1] * grid[2]
    inside = (layout.grid < jnp.array(grid)).all(axis=-1) & (layout.modality == MODALITIES.index(name))
    cell = (layout.grid * jnp.array([grid[1] * grid[2], grid[2], 1])).sum(axis=-1)
    # Out of bounds is left out: tokens of other modalities, padding.
    place = jnp.where(inside, layout.clip * cells + cell, slots * cells)
    source = _sources(layout.source_index - _offset(stream, name), place, slots * cells)
    present = source >= 0
    index = jnp.maximum(source, 0).reshape(*source.shape, *[1] * (content.ndim - 2))
    taken = jnp.take_along_axis(content, index, axis=1)
    taken = jnp.where(present.reshape(index.shape), taken, 0)
    shape = (-1, slots, *grid)
    return Canvas(by_rows(taken.reshape(*shape, *content.shape[2:])), by_rows(present.reshape(shape)))


@jax.vmap
def _invert(source: Int[Array, " L"], place: Int[Array, " L"], empty: Int[Array, " n"]) -> Int[Array, " n"]:
    return empty.at[place].set(source, mode="drop")


def _sources(source: Int[Array, "B L"], place: Int[Array, "B L"], size: int) -> Int[Array, "B n"]:
    """Where the content of each of `size` cells lies; -1 for none."""
    return _invert(source, place, jnp.full((source.shape[0], size), -1, source.dtype))


def _offset(stream: TokenStream, name: str) -> int:
    """Where a modality begins among the contents that stand one behind the other."""
    before = [other for other in MODALITIES[: MODALITIES.index(name)] if other in stream.content]
    return sum(stream.content[other].shape[1] for other in before)


def frames(stream: TokenStream, spec: PatchSpec) -> Images | None:
    """The frames of every clip, `c` = 3, pixels in [-1, 1]; grey where a patch is absent.

    A frame is there if any of its patches is.
    """
    found = canvas(stream, "video", spec.grid)
    if found is None:
        return None
    t, y, x, _ = spec.patch
    pixels = jnp.where(found.present[..., None], found.content.astype(jnp.float32) / 127.5 - 1.0, 0)
    pixels = rearrange(pixels, "B E T Y X (t y x c) -> B E (T t) (Y y) (X x) c", t=t, y=y, x=x)
    return pixels, repeat(found.present.any(axis=(-2, -1)), "B E T -> B E (T t)", t=t)


def strips(stream: TokenStream, spec: PatchSpec) -> Images | None:
    """The spectrogram of every clip, one strip for each time step of the grid, `c` = 1; 0 where a patch is absent.

    Patches that overlap are set side by side, since a stream does not tell by how much they do.
    """
    found = canvas(stream, "audio", spec.grid)
    if found is None:
        return None
    strip = rearrange(found.content, "B E T M 1 (t m) -> B E T t (M m) 1", t=spec.patch[0])
    return strip, found.present.any(axis=(-2, -1))


def spectrograms(stream: TokenStream, spec: PatchSpec) -> Images | None:
    """The whole spectrogram of every clip as one picture, time downwards."""
    found = strips(stream, spec)
    if found is None:
        return None
    return rearrange(found[0], "B E T t m c -> B E 1 (T t) m c"), found[1].any(axis=-1, keepdims=True)


def texts(stream: TokenStream, spec: TextSpec) -> tuple[Int[Array, "B E k S"], Bool[Array, "B E k S"]] | None:
    """The captions of every clip, and where they have a piece."""
    found = canvas(stream, "text", (1, spec.captions, spec.length))
    return None if found is None else (found.content[:, :, 0], found.present[:, :, 0])
