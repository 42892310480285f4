"""Fixed sine and cosine positions over the cells of the grid, as in published systems.

All schemes count cells, not seconds, and have angles `index / 10000^(i / pairs)` for pair `i` (Vaswani et al. 2017,
section 3.5). They differ in the index and in the order of the elements:

| scheme | index | order of the elements | source |
|---|---|---|---|
| `sincos_1d` | patch in the flat grid | sine and cosine of each pair, alternating | VideoMAE |
| `sincos_2d` | (y, x) of video, (time, mel) of audio | sines, cosines of the second axis, then first | MAE |
| `sincos_2d_time_first` | as `sincos_2d` | as `sincos_2d` for video; first axis first for audio | CAV-MAE |
| `sincos_2d_turned` | as `sincos_2d` for video; for audio see `sincos_2d_turned` | as `sincos_2d` | AudioMAE |
| `sincos_3d` | (t, y, x) | sines and cosines of t, y, x, `2 ceil(D/6)` each, cut at `D` | V-JEPA (`uniform_power`) |

`sincos_2d` does not encode the time of a frame. A spectrogram is a grid with one x. Text has one axis, the index of
the token, with the elements in the order of the scheme.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmvideo.stream import Modality, PatchSpec, StreamSpec, TokenLayout


def sincos_1d(layout: TokenLayout, spec: StreamSpec, width: int) -> Float[Array, "B L D"]:
    """Return the sinusoid over the flat grid; `width` is even (VideoMAE, `get_sinusoid_encoding_table`)."""
    angles = _angles(flat_index(layout, spec), width // 2)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*pairs.shape[:-2], width)


def sincos_2d(layout: TokenLayout, width: int, time_first: bool = False) -> Float[Array, "B L D"]:
    """Return half of the elements for each of two axes; `width` is a multiple of 4 (MAE, `get_2d_sincos_pos_embed`).

    The second axis comes first, as in the published code. CAV-MAE calls that code with a grid of mel rows by time
    columns, so for audio time comes first (`time_first`).
    """
    first = jnp.where(layout.modality == Modality.AUDIO, layout.grid[..., 0], layout.grid[..., 1])
    second = jnp.where(layout.modality == Modality.AUDIO, layout.grid[..., 1], layout.grid[..., 2])
    if time_first:
        swapped = layout.modality == Modality.AUDIO
        first, second = jnp.where(swapped, second, first), jnp.where(swapped, first, second)
    grid = jnp.concatenate([_axis(second, width // 2), _axis(first, width // 2)], axis=-1)
    return _text_or(grid, layout)


def sincos_2d_turned(layout: TokenLayout, spec: StreamSpec, width: int) -> Float[Array, "B L D"]:
    """Return `sincos_2d`, for audio with the table of a grid with swapped sides (AudioMAE, `PatchEmbed_org.patch_hw`).

    AudioMAE's code builds the table for mel rows by time columns, and reads it with tokens in the order of time steps,
    mel rows within a step. Its published weights need this table.
    """
    if spec.audio is not None:
        # Example: 64 steps of 8 mel rows: token (10, 3) has the flat index 83, cell (1, 19) of a table of 8 x 64.
        index = flat_index(layout, spec)
        steps = spec.audio.grid[0]
        turned = jnp.stack([index // steps, index % steps, jnp.zeros_like(index)], axis=-1)
        is_audio = (layout.modality == Modality.AUDIO)[..., None]
        layout = dataclasses.replace(layout, grid=jnp.where(is_audio, turned, layout.grid))
    return sincos_2d(layout, width)


def sincos_3d(layout: TokenLayout, width: int) -> Float[Array, "B L D"]:
    """Return a third of the elements for each of three axes; `width` is even (V-JEPA, `get_3d_sincos_pos_embed`)."""
    # Example: width 128: 44 elements for each axis are 132, of which the last 4 (of x) are cut.
    third = 2 * -(-width // 6)
    grid = jnp.concatenate([_axis(layout.grid[..., axis], third) for axis in range(3)], axis=-1)[..., :width]
    return _text_or(grid, layout)


def flat_index(layout: TokenLayout, spec: StreamSpec) -> Int[Array, "B L"]:
    """Return the row-major index of each token's cell in its modality's grid; for text the index of the token.

    A cell beyond the grid counts as the last one of its axis. Padding is 0.
    """
    index = jnp.zeros_like(layout.modality)
    for modality in (Modality.VIDEO, Modality.AUDIO):
        patches: PatchSpec | None = getattr(spec, modality.name.lower())
        if patches is not None:
            # Example: grid (8, 14, 14): cell (1, 2, 3) is 1 * 196 + 2 * 14 + 3 = 227.
            inside = jnp.clip(layout.grid, 0, jnp.asarray(patches.grid) - 1)
            steps = np.array([patches.grid[1] * patches.grid[2], patches.grid[2], 1])
            index = jnp.where(layout.modality == modality, (inside * steps).sum(axis=-1), index)
    if spec.text is not None:
        text_index = jnp.clip(layout.grid[..., 2], 0, spec.text.length - 1)
        index = jnp.where(layout.modality == Modality.TEXT, text_index, index)
    return index.astype(jnp.int32)


def _text_or(grid: Float[Array, "B L D"], layout: TokenLayout) -> Float[Array, "B L D"]:
    """Return the positions on the grid, and for text tokens those of their index over the whole width."""
    is_text = (layout.modality == Modality.TEXT)[..., None]
    return jnp.where(is_text, _axis(layout.grid[..., 2], grid.shape[-1]), grid)


def _axis(index: Int[Array, "B L"], width: int) -> Float[Array, "B L d"]:
    """Return the sines, then the cosines, of one axis."""
    angles = _angles(index, width // 2)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _angles(index: Int[Array, "B L"], pairs: int) -> Float[Array, "B L pairs"]:
    """Return the angles in radians, `index / 10000^(i / pairs)`, modulo whole turns.

    In float32 the product with an index in the thousands would be wrong by 1e-4. Each frequency is therefore split into
    a part of 11 bits, whose product with an index below 2^13 is exact, and a small rest.
    """
    # Frequencies are in turns, not radians, so that whole turns can be subtracted exactly. A float32 has 24 bits: 11 of
    # the frequency and 13 of the index.
    frequency = 10000.0 ** (-np.arange(pairs) / pairs) / (2 * np.pi)
    mantissa, exponent = np.frexp(frequency)
    coarse = np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent)
    step = index[..., None].astype(jnp.float32)
    whole = step * coarse.astype(np.float32)
    turns = (whole - jnp.floor(whole)) + step * (frequency - coarse).astype(np.float32)
    return (2 * np.pi) * turns
