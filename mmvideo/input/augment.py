"""Changes to pictures and sound while training: flip, colour, SpecAugment.

Each is drawn once a clip, so that all its frames change alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, UInt8

from mmvideo.input.config import Audio

_SIDED = re.compile(
    r"\b(left|right|leftwards?|rightwards?|\w*-?clockwise|east|west|eastwards?|westwards?|mirrored|text|word|letters?)\b",
    re.IGNORECASE,
)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in the brightness of a pixel (ITU-R BT.601, section 2.5.1)."""


def tells_sides(texts: Iterable[str]) -> bool:
    """Whether captions or class names speak of sides, of turning, or of writing; such a clip is never flipped."""
    return any(_SIDED.search(text.replace("_", " ")) for text in texts)


def jitter_colour(
    frames: UInt8[np.ndarray, "T H W 3"], strength: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "T H W 3"]:
    """Brightness, contrast and saturation, each multiplied by a factor from `[1 - strength, 1 + strength]`."""
    brightness, contrast, saturation = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3).astype(np.float32)
    # The three are one affine map of colours: mix with the grey of the pixel, then with that of the clip.
    to_grey = np.tile(_LUMA[:, None], (1, 3))
    matrix = brightness * contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * to_grey)
    offset = brightness * (1 - contrast) * (frames.mean(axis=(0, 1, 2), dtype=np.float32) @ _LUMA)
    changed = frames.astype(np.float32) @ matrix + offset
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def mask_spectrogram(
    rows: Float32[np.ndarray, "T M"], audio: Audio, rng: np.random.Generator
) -> Float32[np.ndarray, "T M"]:
    """SpecAugment (Park et al. 2019, arXiv 1904.08779, section 2) without warping.

    Stretches of time and of mel bins are set to 0, the mean of a normalised spectrogram; the length of
    each is drawn up to its limit.
    """
    rows = rows.copy()
    for _ in range(audio.time_masks):
        start, stop = _stretch(rows.shape[0], audio.time_mask, rng)
        rows[start:stop] = 0
    for _ in range(audio.mel_masks):
        start, stop = _stretch(rows.shape[1], audio.mel_mask, rng)
        rows[:, start:stop] = 0
    return rows


def _stretch(total: int, longest: int, rng: np.random.Generator) -> tuple[int, int]:
    length = int(rng.integers(0, min(longest, total) + 1))
    start = int(rng.integers(0, total - length + 1))
    return start, start + length
