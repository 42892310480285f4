"""Images for the page: strips of frames, spectrograms, heat maps over frames."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

HIDDEN = 205
"""Light grey of the hidden parts of an image."""

HOTTEST = 3.0
"""Attention, relative to its mean over the frames, of the brightest colour."""


def strip(frames: UInt8[np.ndarray, "T H W 3"], most: int = 8, gap: int = 2) -> UInt8[np.ndarray, "H W2 3"]:
    """Return evenly spaced frames side by side, with white gaps between them."""
    taken = frames[even(len(frames), most)]
    white = np.full((taken.shape[1], gap, 3), 255, np.uint8)
    pieces = [piece for frame in taken for piece in (white, frame)]
    return np.concatenate(pieces[1:], axis=1)


def even(count: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced numbers below `count`, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def coloured(
    spectrogram: Float[np.ndarray, "T M"], low: int | float, high: int | float, scale: int = 2
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a spectrogram with time to the right and frequency upwards; NaN is grey.

    Args:
      spectrogram: Energies in any unit.
      low: Energy of the darkest colour.
      high: Energy of the brightest colour.
      scale: Pixels of a bin.
    """
    from matplotlib import colormaps

    share = np.clip((spectrogram - low) / max(high - low, 1e-12), 0.0, 1.0)
    picture = (colormaps["magma"](np.nan_to_num(share))[..., :3] * 255).astype(np.uint8)
    picture[np.isnan(spectrogram)] = HIDDEN
    # [time, mel] becomes [mel, time], then the lowest mel bin moves to the bottom.
    upright = picture.transpose(1, 0, 2)[::-1]
    return upright.repeat(scale, axis=0).repeat(scale, axis=1)


def heated(frames: UInt8[np.ndarray, "T H W 3"], weights: Float[np.ndarray, "t y x"]) -> UInt8[np.ndarray, "T H W 3"]:
    """Return grey frames with a glow where the attention is above its mean, brightest at `HOTTEST` times the mean.

    Args:
      frames: Frames that the grid covers; `T` is a multiple of `t`.
      weights: Attention to each cell.
    """
    from matplotlib import colormaps

    # 8 frames of 64 x 64 pixels and weights [4, 8, 8]: each weight covers 2 frames of 8 x 8 pixels.
    steps, height, width = (frames.shape[axis] // weights.shape[axis] for axis in range(3))
    relative = weights / max(float(weights.mean()), 1e-30)
    heat = (
        np.clip((relative - 1.0) / (HOTTEST - 1.0), 0.0, 1.0)
        .repeat(steps, axis=0)
        .repeat(height, axis=1)
        .repeat(width, axis=2)
    )
    grey = frames.mean(axis=-1, keepdims=True) / 255.0
    glow = colormaps["inferno"](0.35 + 0.6 * heat)[..., :3]
    share = heat[..., None] ** 0.5
    mixed = 0.7 * grey * (1.0 - 0.8 * share) + 0.8 * share * glow
    return (np.clip(mixed, 0.0, 1.0) * 255).astype(np.uint8)
