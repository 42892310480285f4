"""RandAugment for clips (Cubuk et al. 2020, arXiv 1909.13719, section 3): random operations, the same for all frames.

The fifteen operations and their ranges are those of the `rand-m7-n4-mstd0.5-inc1` family, in which every strength grows
with the magnitude. Operations that depend on the colours of the image (contrast, equalise) use all frames together, so
a clip never flickers. The operations apply to the training crop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmvideo.input.config import RandAugment

_FILL = (124, 116, 104)
"""Fill colour of pixels from outside the frame: the mean colour of ImageNet."""

_HIGHEST = 10.0
"""Largest magnitude."""

COLOURS = (
    "auto_contrast", "equalize", "invert", "posterize", "solarize", "solarize_add",
    "colour", "contrast", "brightness", "sharpness",
)  # fmt: skip
SHIFTS = ("translate_x", "translate_y")
TURNS = ("rotate", "shear_x", "shear_y")
"""Operations by type; turning operations are not drawn for a clip whose captions mention sides."""


def rand_augment(
    frames: UInt8[np.ndarray, "T H W 3"], settings: RandAugment, sided: bool, rng: np.random.Generator
) -> UInt8[np.ndarray, "T H W 3"]:
    """Apply a few random operations to a clip, one after the other.

    Args:
      frames: pixels in [0, 255].
      settings: number, strength and probability of operations.
      sided: leaves out turning operations.
      rng: source of all draws.
    """
    names = COLOURS + SHIFTS + (() if sided else TURNS)
    for _ in range(settings.layers):
        name = names[int(rng.integers(len(names)))]
        # All values are drawn even if the operation is not applied, so that later draws stay the same.
        made, sign = rng.random() < settings.probability, rng.choice((-1.0, 1.0))
        magnitude = np.clip(rng.normal(settings.magnitude, settings.deviation), 0.0, _HIGHEST)
        if made:
            frames = change(frames, name, float(magnitude) / _HIGHEST, float(sign))
    return frames


def change(
    frames: UInt8[np.ndarray, "T H W 3"], name: str, strength: float, sign: float
) -> UInt8[np.ndarray, "T H W 3"]:
    """Apply one operation to all frames at a strength in [0, 1]; `sign`, 1 or -1, is its direction where it has two.

    At strength 0 nothing changes, except for `auto_contrast`, `equalize`, `invert` and `posterize`, which keeps 4 bits.
    At strength 1 `posterize` keeps no bits.
    """
    if name in COLOURS and name != "sharpness":
        # One tall image of all frames: statistics such as the histogram are then shared by all frames.
        tall = frames.reshape(1, -1, *frames.shape[2:])
        return _each(tall, _COLOURING[name](strength, sign)).reshape(frames.shape)
    if name == "sharpness":
        return _each(frames, _enhance("Sharpness")(strength, sign))
    return _each(frames, _moving(name, sign * strength, *frames.shape[1:3]))


def _each(frames: np.ndarray, function: Callable[[Any], Any]) -> np.ndarray:
    """Apply a function of Pillow images to every frame."""
    from PIL import Image

    return np.stack([np.asarray(function(Image.fromarray(frame))) for frame in frames])


def _moving(name: str, amount: float, height: int, width: int) -> Callable[[Any], Any]:
    """Return a geometric operation: rotation up to 30 degrees, shear up to 0.3, translation up to 0.45 of the side."""
    from PIL import Image

    if name == "rotate":
        return lambda picture: picture.rotate(30 * amount, Image.Resampling.BICUBIC, fillcolor=_FILL)
    matrix = {
        "shear_x": (1, 0.3 * amount, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * amount, 1, 0),
        "translate_x": (1, 0, 0.45 * amount * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, 0.45 * amount * height),
    }[name]
    affine, bicubic = Image.Transform.AFFINE, Image.Resampling.BICUBIC
    return lambda picture: picture.transform(picture.size, affine, matrix, bicubic, fillcolor=_FILL)


def _enhance(name: str) -> Callable[[float, float], Callable[[Any], Any]]:
    """Return a maker of Pillow enhancements by a factor from 0.1 to 1.9, where 1 leaves the image unchanged."""

    def make(strength: float, sign: float) -> Callable[[Any], Any]:
        from PIL import ImageEnhance

        return lambda picture: getattr(ImageEnhance, name)(picture).enhance(max(0.1, 1.0 + 0.9 * sign * strength))

    return make


def _operation(name: str, *numbers: Callable[[float], int]) -> Callable[[float, float], Callable[[Any], Any]]:
    """Return a maker of `ImageOps` functions whose arguments follow from the strength."""

    def make(strength: float, sign: float) -> Callable[[Any], Any]:
        from PIL import ImageOps

        return lambda picture: getattr(ImageOps, name)(picture, *(number(strength) for number in numbers))

    return make


def _posterize(strength: float, sign: float) -> Callable[[Any], Any]:
    """Return an operation that keeps the 4 highest bits at strength 0, down to none (a black image) at strength 1.

    The published code masks the other bits, so it has no smallest number of bits; newer versions of Pillow's own
    `posterize` refuse 0 bits.
    """
    mask = 0xFF & ~(2 ** (8 - (4 - int(4 * strength))) - 1)
    table = [value & mask for value in range(256)]
    return lambda picture: picture.point(table * 3)


def _solarize_add(strength: float, sign: float) -> Callable[[Any], Any]:
    """Return an operation that adds up to 110 to the darker half of the values."""
    table = [min(255, value + int(110 * strength)) if value < 128 else value for value in range(256)]
    return lambda picture: picture.point(table * 3)


_COLOURING = {
    "auto_contrast": _operation("autocontrast"),
    "equalize": _operation("equalize"),
    "invert": _operation("invert"),
    "posterize": _posterize,
    "solarize": _operation("solarize", lambda strength: 256 - int(256 * strength)),
    "solarize_add": _solarize_add,
    "colour": _enhance("Color"),
    "contrast": _enhance("Contrast"),
    "brightness": _enhance("Brightness"),
}
