"""RGB frames from decoded ones: resized, upright, in one array."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from jaxtyping import UInt8

KERNELS = ("area", "bilinear", "bicubic", "lanczos")
"""Resize kernels, swscale's of the same names; each widens as the picture shrinks, so none of them aliases."""

_local = threading.local()


def _reformatter() -> Any:
    """This thread's one `VideoReformatter`: a new one for each clip would plan the same resize again."""
    if not hasattr(_local, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _local.reformatter = VideoReformatter()
    return _local.reformatter


class Painter:
    """Turns decoded frames into upright RGB ones of one size.

    Args:
      short_side: length of the shorter side in pixels, the other in proportion; None keeps the stored size.
      size: exact height and width instead.
      kernel: one of `KERNELS`.
      pixel_aspect: width of a stored pixel over its height; counts for `short_side` only.

    Raises:
      ValueError: an unknown kernel, a size below one pixel, or both kinds of size.
    """

    def __init__(self, short_side: int | None, size: tuple[int, int] | None, kernel: str, pixel_aspect: float = 1.0):
        from av.video.reformatter import Interpolation

        if kernel not in KERNELS:
            raise ValueError(f"unknown resize kernel {kernel!r}; take one of {', '.join(KERNELS)}")
        if short_side is not None and size is not None:
            raise ValueError(f"short_side={short_side} and size={size} exclude each other; give one of them")
        if min(size or (1 if short_side is None else short_side,)) < 1:
            raise ValueError(f"short_side={short_side}, size={size}: a picture has at least one pixel a side")
        self._short_side, self._size, self._pixel_aspect = short_side, size, pixel_aspect
        self._interpolation = Interpolation[kernel.upper()]
        self._transposed = self._flip_y = self._flip_x = False
        self._stored: tuple[int, int] | None = None

    def paint(self, frame: Any) -> Any:
        """Resize and convert one frame in one pass of swscale; `stack` turns it upright later."""
        if self._stored is None:
            self._transposed, self._flip_y, self._flip_x = orientation(frame)
            self._stored = self._stored_size(frame.height, frame.width)
        height, width = self._stored
        return _reformatter().reformat(frame, width, height, "rgb24", interpolation=self._interpolation, threads=1)

    def _stored_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to scale to, before the picture is turned."""
        if self._size is not None:
            return self._size[::-1] if self._transposed else self._size
        if self._short_side is None:
            return height, width
        shown = width * self._pixel_aspect
        scale = self._short_side / min(height, shown)
        return max(1, round(height * scale)), max(1, round(shown * scale))

    def stack(self, painted: list[Any]) -> UInt8[np.ndarray, "T H W 3"]:
        """One array of the painted frames, turned upright."""
        height, width = self._stored
        frames = np.empty((len(painted), height, width, 3), np.uint8)
        for place, frame in enumerate(painted):
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8, height * plane.line_size).reshape(height, plane.line_size)
            frames[place] = rows[:, : 3 * width].reshape(height, width, 3)
        if self._transposed:
            frames = frames.transpose(0, 2, 1, 3)
        frames = frames[:, :: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]
        return np.ascontiguousarray(frames)


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """Whether a stored frame is to be transposed, then flipped in y, then in x, to stand upright.

    The display matrix holds nine numbers `a b u, c d v, x y w`; a stored point (x, y) is shown at
    (a x + c y, b x + d y) (ISO/IEC 14496-12, section 6.2.2). Angles between the quarter turns round to one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    if abs(a) >= abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0
