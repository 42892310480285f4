"""Conversion of decoded frames to RGB: resized, upright, in one array."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmvideo.media.frames.displayed import Shown, reformatter, values

KERNELS = ("area", "bilinear", "bicubic", "lanczos")
"""Resize kernels, swscale's of the same names; each widens when it shrinks a frame, so none of them aliases."""

MOST_ASPECT = 8.0
"""Largest plausible ratio of a stored pixel's width to its height, and inverse of the smallest; real ones are within
3."""


class FrameConverter:
    """Converter of decoded frames to upright RGB frames of one size.

    Args:
      short_side: length of the shorter side in pixels, the other in proportion; None keeps the displayed size.
      size: exact height and width instead.
      kernel: one of `KERNELS`.
      pixel_aspect: ratio of a stored pixel's width to its height, by which the width is stretched, unless `size` is
        given.
      shown: conversion of frames to displayable ones.

    Raises:
      ValueError: the kernel is unknown, a size is below one pixel, or both sizes are given.
    """

    def __init__(
        self,
        short_side: int | None,
        size: tuple[int, int] | None,
        kernel: str,
        pixel_aspect: float = 1.0,
        shown: Shown | None = None,
    ):
        if kernel not in KERNELS:
            raise ValueError(f"unknown resize kernel {kernel!r}; take one of {', '.join(KERNELS)}")
        if short_side is not None and size is not None:
            raise ValueError(f"short_side={short_side} and size={size} exclude each other; give one of them")
        if min(size or (1 if short_side is None else short_side,)) < 1:
            raise ValueError(f"short_side={short_side}, size={size}: a picture has at least one pixel a side")
        self._short_side, self._size, self._pixel_aspect = short_side, size, pixel_aspect
        self._interpolation = interpolation(kernel)
        self._shown = shown or Shown("the picture")
        self._transposed = self._flip_y = self._flip_x = False
        self._stored: tuple[int, int] | None = None

    def paint(self, frame: Any) -> Any:
        """Resize and convert one frame to RGB planes, which is several times as fast as interleaved RGB, with exact
        chroma.

        `stack` joins the planes and turns them upright later.
        """
        if self._stored is None:
            self._transposed, self._flip_y, self._flip_x = orientation(frame)
            self._stored = self._stored_size(frame.height, frame.width)
        height, width = self._stored
        frame = self._shown.show(frame, height, width, self._interpolation)
        return reformatter().reformat(frame, width, height, "gbrp", interpolation=self._interpolation, threads=1)

    def _stored_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width to scale to, before rotation."""
        if self._size is not None:
            # A frame that is turned later is scaled to the swapped size: 64 x 48 upright is 48 x 64 stored.
            return self._size[::-1] if self._transposed else self._size
        shown = width * self._pixel_aspect
        scale = 1.0 if self._short_side is None else self._short_side / min(height, shown)
        return max(1, round(height * scale)), max(1, round(shown * scale))

    def stack(self, painted: list[Any]) -> UInt8[np.ndarray, "T H W 3"]:
        """Return one array of the converted frames, turned upright."""
        height, width = self._stored
        frames = np.empty((len(painted), height, width, 3), np.uint8)
        for place, frame in enumerate(painted):
            for channel, plane in enumerate(frame.planes):
                # The planes are green, blue and red: plane 0 is channel 1, plane 1 channel 2, plane 2 channel 0.
                frames[place, ..., (channel + 1) % 3] = values(plane, height, width)
        if self._transposed:
            frames = frames.transpose(0, 2, 1, 3)
        frames = frames[:, :: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]
        return np.ascontiguousarray(frames)


def turned(frame: Any, transposed: bool, flip_y: bool, flip_x: bool) -> Any:
    """Return a planar 8-bit frame transposed, then flipped, with the flags of `orientation`."""
    import av

    if not (transposed or flip_y or flip_x):
        return frame
    height, width = (frame.width, frame.height) if transposed else (frame.height, frame.width)
    made = av.VideoFrame(width, height, frame.format.name)
    for plane, target in zip(frame.planes, made.planes, strict=True):
        rows = np.frombuffer(plane, np.uint8, plane.height * plane.line_size).reshape(plane.height, -1)[
            :, : plane.width
        ]
        rows = (rows.T if transposed else rows)[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        padded = np.zeros((target.height, target.line_size), np.uint8)
        padded[:, : target.width] = rows
        target.update(padded)
    return made


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """Return whether a stored frame must be transposed, then flipped in y, then in x, to be upright.

    The display matrix has nine numbers `a b u, c d v, x y w`; a stored point (x, y) is displayed at (a x + c y, b x + d
    y) (ISO/IEC 14496-12, section 6.2.2). Angles between quarter turns are rounded to one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    # Identity has a = d = 1; a half turn a = d = -1, so both flips; a quarter turn has a = d = 0.
    if abs(a) >= abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def interpolation(kernel: str) -> Any:
    """Return swscale's flags for a kernel, with one colour per pixel and exact rounding.

    Without the flags for chroma, swscale gives both pixels of a pair the same colour for 4:2:0 of even width. Without
    the other two, the last bit depends on the processor. Their cost: `tools/bench/colours.py`.
    """
    from av.video.reformatter import Interpolation as Flag

    return Flag[kernel.upper()] | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP | Flag.ACCURATE_RND | Flag.BITEXACT


def pixel_aspect(stream: Any) -> float:
    """Return the ratio of a track's pixel width to height; 1 if the file has none, or an implausible one."""
    ratio = float((None if stream is None else stream.sample_aspect_ratio) or 1.0)
    return ratio if 1 / MOST_ASPECT <= ratio <= MOST_ASPECT else 1.0


def shown_size(height: int, width: int, aspect: float) -> tuple[int, int]:
    """Return height and width of a stored frame in square pixels, before rotation."""
    return height, max(1, round(width * aspect))
