"""Augmentations of video and audio in training: colour, erasing, SpecAugment, rolled audio, noise.

RandAugment has its own file. Each augmentation is drawn once per clip, so all frames change alike.
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
"""Weights of red, green and blue in the luminance of a pixel (ITU-R BT.601, section 2.5.1)."""

ERASED = (0.02, 1 / 3)
"""Smallest and largest share of the area that is erased."""

ERASED_ASPECT = 1 / 0.3
"""Largest ratio of an erased rectangle's sides."""


def mentions_left_right(texts: Iterable[str]) -> bool:
    """Return whether captions or class names mention sides, turning or writing; such a clip is never flipped."""
    return any(_SIDED.search(text.replace("_", " ")) for text in texts)


def jitter_colour(
    frames: UInt8[np.ndarray, "T H W 3"], strength: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "T H W 3"]:
    """Multiply brightness, contrast and saturation, each by a factor drawn from `[1 - strength, 1 + strength]`."""
    brightness, contrast, saturation = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3).astype(np.float32)
    # The three together are one affine map of colours: saturation mixes a pixel with its own grey, contrast with the
    # mean grey of the clip, and brightness scales the result.
    to_grey = np.tile(_LUMA[:, None], (1, 3))
    matrix = brightness * contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * to_grey)
    offset = brightness * (1 - contrast) * (frames.mean(axis=(0, 1, 2), dtype=np.float32) @ _LUMA)
    changed = frames.astype(np.float32) @ matrix + offset
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def erase_rectangle(frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "T H W 3"]:
    """Replace a rectangle by noise, the same rectangle in all frames.

    This is random erasing (Zhong et al. 2020, arXiv 1708.04896, section 3.2). The area share and aspect ratio are drawn
    until the rectangle fits, at most ten times; if none fits, the frames are unchanged. The noise is drawn for every
    pixel of every frame.
    """
    height, width = frames.shape[1:3]
    for _ in range(10):
        area = rng.uniform(*ERASED) * height * width
        aspect = np.exp(rng.uniform(-1, 1) * np.log(ERASED_ASPECT))
        high, wide = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        # 64 x 64 with an area of a third and an aspect of 3: 64 x 21 does not fit, so it is drawn again.
        if high < height and wide < width:
            top, left = rng.integers(0, height - high + 1), rng.integers(0, width - wide + 1)
            frames = frames.copy()
            here = frames[:, top : top + high, left : left + wide]
            here[:] = rng.integers(0, 256, here.shape, np.uint8)
            return frames
    return frames


def roll_audio(heard: Float32[np.ndarray, " S"], turned: bool, rng: np.random.Generator) -> Float32[np.ndarray, " S"]:
    """Scale the loudness by 0.5 to 1.5, and roll the audio by a random time, as in the fine-tuning of AudioMAE.

    The factor is 0.5 plus a value from Beta(10, 10).
    """
    turn = int(rng.integers(len(heard))) if turned else 0
    return np.roll(heard, turn) * np.float32(rng.beta(10, 10) + 0.5)


def add_noise(
    rows: Float32[np.ndarray, "T M"], strength: float, rng: np.random.Generator
) -> Float32[np.ndarray, "T M"]:
    """Add noise from [0, 1) to a spectrogram, times a factor drawn up to `strength`, as in the fine-tuning of AST."""
    return rows + rng.random(rows.shape, np.float32) * np.float32(rng.random() * strength)


def mask_spectrogram(
    rows: Float32[np.ndarray, "T M"], audio: Audio, rng: np.random.Generator
) -> Float32[np.ndarray, "T M"]:
    """Apply SpecAugment (Park et al. 2019, arXiv 1904.08779, section 2) without time warping.

    Stretches of time and of mel bins are set to 0, the mean of a normalised spectrogram. The length of each is drawn up
    to its limit.
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
