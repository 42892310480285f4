"""Moments and saliency of clips, cut to the view: the stretches of time that a caption describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int

from mmvideo.datasets.manifests.annotations import Saliency
from mmvideo.input.transforms.crops import TemporalWindow
from mmvideo.stream import PADDING, Clips, PatchSpec

if TYPE_CHECKING:
    from mmvideo.datasets.corpus import Corpus

_SHORTEST = 1e-6
"""Shortest part of a moment in seconds that still counts as inside a view; rounding leaves less."""


class Moments:
    """Moments and saliency of the clips of several corpora, concatenated.

    Args:
      corpora: the sources' corpora.
      first: number of each corpus's first clip, then the number of clips.

    Attributes:
      most: largest number of moments of any clip; None where no clip has moments or saliency.
    """

    def __init__(self, corpora: Sequence[Corpus], first: Int[np.ndarray, " s1"]):
        self._tables, self._first = [corpus.table for corpus in corpora], first
        known = any(table.moments is not None or table.saliency is not None for table in self._tables)
        counts = (len(one) for table in self._tables for one in table.moments or () if one is not None)
        self.most: int | None = max(counts, default=1) or 1 if known else None

    def of(self, number: int) -> tuple[Sequence[tuple[float, float]] | None, Saliency | None]:
        """Return the moments and saliency of one clip, in seconds from its start; None where they are unknown."""
        # first [0, 3, 5]: clip 4 belongs to source 1, as its clip 1.
        source = int(np.searchsorted(self._first, number, side="right")) - 1
        table, clip = self._tables[source], number - int(self._first[source])
        moments = None if table.moments is None else table.moments[clip]
        return moments, None if table.saliency is None else table.saliency[clip]


def fill_moments(
    clips: Clips, moments: Moments, views: Sequence[TemporalWindow | None], video: PatchSpec | None
) -> None:
    """Write moments and saliency into the clips of an assembled row.

    Args:
      clips: clips of the row, with the arrays to fill.
      moments: moments and saliency of all clips.
      views: the view of each clip of the row; None for an unreadable clip.
      video: patch and grid of the video; None without video.
    """
    for slot, view in enumerate(views):
        number = int(clips.clip_index[slot])
        if number == PADDING:
            continue
        known, saliency = moments.of(number)
        clips.moments[slot] = view_moments(known, view.start, view.seconds, clips.moments.shape[1])
        if video is not None:
            middles, width = _steps(view, video)
            clips.saliency[slot] = view_saliency(saliency, middles, width, video.grid[0])


def view_moments(
    moments: Sequence[tuple[float, float]] | None, start: float, seconds: float, most: int
) -> Float32[np.ndarray, "W 2"]:
    """Return the moments cut to a view of `seconds` from `start`, in seconds from the start of the view.

    If the moments are known and none lies in the view, the result is one moment of length 0.
    """
    cut = np.full((most, 2), np.nan, np.float32)
    within = np.clip(np.array(moments or [], np.float64).reshape(-1, 2) - start, 0.0, seconds)
    within = within[within[:, 1] - within[:, 0] > _SHORTEST]
    if moments is not None and not len(within):
        within = np.zeros((1, 2))
    # A view of 4 s from 2 s turns the moment (1, 5) into (0, 3); the moment (7, 9) has no length in it and is left out.
    cut[: len(within)] = within
    return cut


def view_saliency(
    saliency: Saliency | None, middles: Float[np.ndarray, " t"], width: float, most: int
) -> Float32[np.ndarray, " T"]:
    """Return the saliency of steps of `width` seconds with these middles: the mean of the known scores over each step.

    It is NaN where nothing is known, and after the last step.
    """
    scores = np.full(most, np.nan, np.float32)
    if saliency is None or not len(middles) or not saliency.scores:
        return scores
    known = np.array([np.nan if score is None else score for score in saliency.scores], np.float64)
    begin, own = middles[:, None] - width / 2, saliency.step * np.arange(len(known))
    # Seconds that each step shares with each score. Scores every 2 s, a step from 1 to 4 s: 1 s with the first, 2 s
    # with the second, so its mean is (1 * first + 2 * second) / 3.
    shared = np.minimum(begin + width, own + saliency.step) - np.maximum(begin, own)
    shared = np.where((shared > _SHORTEST) & ~np.isnan(known), shared, 0.0)
    total = shared.sum(1)
    mean = shared @ np.nan_to_num(known) / np.where(total > 0, total, 1)
    scores[: len(middles)] = np.where(total > 0, mean, np.nan)
    return scores


def _steps(view: TemporalWindow, video: PatchSpec) -> tuple[Float[np.ndarray, " t"], float]:
    """Return the middle of each tubelet step of a view, in seconds from the start of the clip, and the length of a
    step."""
    frames = video.patch[0]
    middles = view.start + view.times.reshape(-1, frames).mean(1) if len(view.times) else np.zeros(0)
    if len(view.times) < 2:
        return middles, video.seconds
    return middles, float(view.times[-1] - view.times[0]) / (len(view.times) - 1) * frames
