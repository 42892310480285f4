"""Views of an evaluation: stretches of time, and squares along the longer side of each.

The views of a clip are numbered stretch by stretch: view `v` is square `v % crops` of stretch `v // crops`. A clip no
longer than one view, or with square frames, gives several identical views; they still count.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Views
from mmvideo.stream import PADDING, Clips

_EDGE = 1e-6
"""Tolerance that keeps a clip of a whole number of strides from gaining an empty view, however its seconds are
rounded."""


def view_counts(
    seconds: Float[np.ndarray, " n"], lengths: Float[np.ndarray, " n"], views: Views
) -> Int[np.ndarray, " n"]:
    """Return the number of views of clips of `seconds`, when one view has the length `lengths`."""
    stretches = np.full(len(seconds), views.clips, np.int64)
    if views.stride is not None:
        room = np.maximum(seconds - lengths, 0)
        # A clip of 10 s, views of 2 s every 3 s: starts at 0, 3, 6 and (last, moved back to the end) 8, so 4 stretches.
        stretches = 1 + np.ceil(room / views.stride - _EDGE).astype(np.int64)
    return stretches * views.crops


def begin(room: float, view: int, views: Views) -> float:
    """Return the start of a view in seconds from the start of the clip, where `room` is the latest possible start."""
    stretch = view // views.crops
    if views.stride is not None:
        return min(stretch * views.stride, room)
    return room * (0.5 if views.clips == 1 else stretch / (views.clips - 1))


def phase(view: int, views: Views) -> float:
    """Return the position of a view's frame in each equal part of a clip, in [0, 1).

    A single stretch takes the middle of each part. Several take the start of the parts, then later positions.
    """
    return 0.5 if views.clips == 1 else view // views.crops / views.clips


def crop_place(room: int, view: int, views: Views) -> int:
    """Return the first pixel of a view's square along the longer side, which is `room` pixels longer than the
    square."""
    return room // 2 if views.crops == 1 else room * (view % views.crops) // (views.crops - 1)


def fill_views(clips: Clips, view: Int[np.ndarray, " e"], start: Float[np.ndarray, " e"]) -> None:
    """Write the view index of each clip of an assembled row, and its start in seconds; 0 for an unreadable clip."""
    here = slice(len(view))
    read = clips.clip_index[here] != PADDING
    clips.view[here], clips.start[here] = np.where(read, view, 0), np.where(read, start, 0)
