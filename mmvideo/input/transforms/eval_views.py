"""Which views an evaluation takes of a clip: stretches of time, and squares along the longer side of each.

A clip's views are numbered stretch by stretch: view `v` is square `v % crops` of stretch `v // crops`.
A clip that is no longer than one view, or as high as wide, gives several that are alike; they still count.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Views
from mmvideo.stream import PADDING, Clips

_EDGE = 1e-6
"""Keeps a clip of exactly so many strides from an empty one more, however the table's seconds were rounded."""


def view_counts(
    seconds: Float[np.ndarray, " n"], lengths: Float[np.ndarray, " n"], views: Views
) -> Int[np.ndarray, " n"]:
    """How many views are taken of clips of so many seconds, one view of which lasts so long."""
    stretches = np.full(len(seconds), views.clips, np.int64)
    if views.stride is not None:
        room = np.maximum(seconds - lengths, 0)
        stretches = 1 + np.ceil(room / views.stride - _EDGE).astype(np.int64)
    return stretches * views.crops


def begin(room: float, view: int, views: Views) -> float:
    """Seconds after the start of a clip at which a view begins that could begin up to `room` seconds after it."""
    stretch = view // views.crops
    if views.stride is not None:
        return min(stretch * views.stride, room)
    return room * (0.5 if views.clips == 1 else stretch / (views.clips - 1))


def phase(view: int, views: Views) -> float:
    """Where in each of the equal parts of a clip a view takes its frame, in [0, 1): in the middle where there is one
    stretch, else at the start of the parts and further on, stretch by stretch."""
    return 0.5 if views.clips == 1 else view // views.crops / views.clips


def crop_place(room: int, view: int, views: Views) -> int:
    """First pixel of a view's square along the longer side, `room` pixels longer than the square."""
    return room // 2 if views.crops == 1 else room * (view % views.crops) // (views.crops - 1)


def fill_views(clips: Clips, view: Int[np.ndarray, " e"], start: Float[np.ndarray, " e"]) -> None:
    """Writes which view each clip of an assembled row shows, and how many seconds after the clip's start it starts; 0
    for a clip that could not be read."""
    here = slice(len(view))
    read = clips.clip_index[here] != PADDING
    clips.view[here], clips.start[here] = np.where(read, view, 0), np.where(read, start, 0)
