"""Fixed sine and cosine positions over the cells of the grid, as published systems have them.

All count cells, not seconds, and all have angles `place / 10000^(i / pairs)` for pair `i` (Vaswani et al. 2017,
section 3.5). They differ in what a place is and in the order of the numbers:

| scheme | a place is | the numbers, in order | from |
|---|---|---|---|
| `sincos_1d` | the number of the patch in the flat grid | sine and cosine of each pair in turn | VideoMAE |
| `sincos_2d` | two cells: (y, x) of video, (time, mel) of sound | the second cell's sines and cosines, then the first's | MAE |
| `sincos_2d_time_first` | the same | the same of video; of sound the first cell's, then the second's | CAV-MAE |
| `sincos_2d_turned` | the same of video; of sound see `sincos_2d_turned` | as `sincos_2d` | AudioMAE |
| `sincos_3d` | three cells: (t, y, x) | the sines and cosines of t, of y, then of x, each `2 ceil(D/6)` numbers, cut at `D` | V-JEPA (`uniform_power`) |

`sincos_2d` tells nothing of a frame's time. A spectrogram is a grid with one x. Text has one cell, the number of the
piece; its numbers are in the order of the scheme.
"""  # noqa: E501

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmvideo.stream import Modality, PatchSpec, StreamSpec, TokenLayout


def sincos_1d(layout: TokenLayout, spec: StreamSpec, width: int) -> Float[Array, "B L D"]:
    """The sinusoid over the flat grid; `width` is even (VideoMAE, `get_sinusoid_encoding_table`)."""
    angles = _angles(flat_place(layout, spec), width // 2)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*pairs.shape[:-2], width)


def sincos_2d(layout: TokenLayout, width: int, time_first: bool = False) -> Float[Array, "B L D"]:
    """Half of the numbers for each of two axes; `width` is a multiple of 4 (MAE, `get_2d_sincos_pos_embed`).

    The second axis stands first, as in the code that everyone has copied since. CAV-MAE calls that code with a grid of
    mel rows by time columns, so that of sound time stands first (`time_first`).
    """
    first = jnp.where(layout.modality == Modality.AUDIO, layout.grid[..., 0], layout.grid[..., 1])
    second = jnp.where(layout.modality == Modality.AUDIO, layout.grid[..., 1], layout.grid[..., 2])
    if time_first:
        swapped = layout.modality == Modality.AUDIO
        first, second = jnp.where(swapped, second, first), jnp.where(swapped, first, second)
    grid = jnp.concatenate([_axis(second, width // 2), _axis(first, width // 2)], axis=-1)
    return _text_or(grid, layout)


def sincos_2d_turned(layout: TokenLayout, spec: StreamSpec, width: int) -> Float[Array, "B L D"]:
    """`sincos_2d`, of sound with the table of a grid whose sides are exchanged (AudioMAE, `PatchEmbed_org.patch_hw`).

    AudioMAE's code makes the table for mel rows by time columns and reads it with tokens that run through the mel rows
    of a time step first. With 64 steps of 8 mel rows the token (10, 3) is the 83rd behind the first, whose place in a
    table of 8 by 64 is (1, 19). Whoever loads its weights needs this table.
    """
    if spec.audio is not None:
        place, steps = flat_place(layout, spec), spec.audio.grid[0]
        turned = jnp.stack([place // steps, place % steps, jnp.zeros_like(place)], axis=-1)
        is_sound = (layout.modality == Modality.AUDIO)[..., None]
        layout = dataclasses.replace(layout, grid=jnp.where(is_sound, turned, layout.grid))
    return sincos_2d(layout, width)


def sincos_3d(layout: TokenLayout, width: int) -> Float[Array, "B L D"]:
    """A third of the numbers for each of three axes; `width` is even (V-JEPA, `get_3d_sincos_pos_embed`)."""
    third = 2 * -(-width // 6)
    grid = jnp.concatenate([_axis(layout.grid[..., axis], third) for axis in range(3)], axis=-1)[..., :width]
    return _text_or(grid, layout)


def flat_place(layout: TokenLayout, spec: StreamSpec) -> Int[Array, "B L"]:
    """The number of each token's cell when its modality's grid is read row by row; of text that of the piece.

    A cell beyond the grid counts as the last one of its axis. Padding is 0.
    """
    place = jnp.zeros_like(layout.modality)
    for modality in (Modality.VIDEO, Modality.AUDIO):
        patches: PatchSpec | None = getattr(spec, modality.name.lower())
        if patches is not None:
            inside = jnp.clip(layout.grid, 0, jnp.asarray(patches.grid) - 1)
            steps = np.array([patches.grid[1] * patches.grid[2], patches.grid[2], 1])
            place = jnp.where(layout.modality == modality, (inside * steps).sum(axis=-1), place)
    if spec.text is not None:
        piece = jnp.clip(layout.grid[..., 2], 0, spec.text.length - 1)
        place = jnp.where(layout.modality == Modality.TEXT, piece, place)
    return place.astype(jnp.int32)


def _text_or(grid: Float[Array, "B L D"], layout: TokenLayout) -> Float[Array, "B L D"]:
    """What the grid gives, and for pieces of text their number over the whole width."""
    is_text = (layout.modality == Modality.TEXT)[..., None]
    return jnp.where(is_text, _axis(layout.grid[..., 2], grid.shape[-1]), grid)


def _axis(place: Int[Array, "B L"], width: int) -> Float[Array, "B L d"]:
    """Sines, then cosines, of one axis."""
    angles = _angles(place, width // 2)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _angles(place: Int[Array, "B L"], pairs: int) -> Float[Array, "B L pairs"]:
    """The angles in radians, `place / 10000^(i / pairs)`, less whole turns.

    In float32 the product of a place in the thousands would be wrong by 1e-4. The frequencies are therefore
    cut in two: a part of 11 bits, whose product with a place below 2^13 is exact, and the small rest.
    """
    frequency = 10000.0 ** (-np.arange(pairs) / pairs) / (2 * np.pi)
    mantissa, exponent = np.frexp(frequency)
    coarse = np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent)
    step = place[..., None].astype(jnp.float32)
    whole = step * coarse.astype(np.float32)
    turns = (whole - jnp.floor(whole)) + step * (frequency - coarse).astype(np.float32)
    return (2 * np.pi) * turns
