"""What of a view its caption tells of: the moments of a clip and its saliency, cut to the view."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int

from mmvideo.datasets.annotations import Saliency
from mmvideo.stream import PatchSpec

if TYPE_CHECKING:
    from mmvideo.datasets.corpus import Corpus

_SHORTEST = 1e-6
"""Seconds of a moment that still counts as being in a view: rounding leaves less."""


@dataclasses.dataclass(frozen=True)
class Told:
    """What is told of the clips of a row.

    Attributes:
      moments: `[start, end]` in seconds after the start of the view, NaN behind the last.
      saliency: of each step of the largest video grid, NaN where it is unknown; None without pictures.
    """

    moments: Float32[np.ndarray, "e W 2"]
    saliency: Float32[np.ndarray, "e T"] | None


class Moments:
    """The moments and the saliency of the clips of several corpora, one corpus behind the other.

    Args:
      corpora: the sources' corpora.
      first: number of each corpus's first clip, and the number of clips.

    Attributes:
      most: the most moments that a clip has; None where no clip has moments or saliency.
    """

    def __init__(self, corpora: Sequence[Corpus], first: Int[np.ndarray, " s1"]):
        self._tables, self._first = [corpus.table for corpus in corpora], first
        known = any(table.moments is not None or table.saliency is not None for table in self._tables)
        counts = (len(one) for table in self._tables for one in table.moments or () if one is not None)
        self.most: int | None = max(counts, default=1) or 1 if known else None

    def of(self, number: int) -> tuple[Sequence[tuple[float, float]] | None, Saliency | None]:
        """Moments and saliency of one clip, in seconds after its start; None where they are unknown."""
        source = int(np.searchsorted(self._first, number, side="right")) - 1
        table, clip = self._tables[source], number - int(self._first[source])
        moments = None if table.moments is None else table.moments[clip]
        return moments, None if table.saliency is None else table.saliency[clip]

    def told(
        self,
        numbers: Int[np.ndarray, " e"],
        views: Sequence[tuple[float, float]],
        steps: Int[np.ndarray, " e"],
        video: PatchSpec | None,
    ) -> Told:
        """What is told of views of clips.

        Args:
          numbers: the clips.
          views: start of each view, in seconds after the start of its clip, and its seconds.
          steps: tubelet steps of each.
          video: patch and grid of the pictures; None without.
        """
        moments = np.full((len(numbers), self.most or 1, 2), np.nan, np.float32)
        saliency = None if video is None else np.full((len(numbers), video.grid[0]), np.nan, np.float32)
        for slot, (number, (start, seconds)) in enumerate(zip(numbers.tolist(), views, strict=True)):
            known, scores = self.of(number)
            moments[slot] = view_moments(known, start, seconds, len(moments[slot]))
            if video is not None:
                saliency[slot] = view_saliency(scores, start, video.seconds, int(steps[slot]), video.grid[0])
        return Told(moments, saliency)


def view_moments(
    moments: Sequence[tuple[float, float]] | None, start: float, seconds: float, most: int
) -> Float32[np.ndarray, "W 2"]:
    """What lies in a view of `seconds` from `start` on of moments, cut to it and counted from its start."""
    cut = np.full((most, 2), np.nan, np.float32)
    within = np.clip(np.array(moments or [], np.float64).reshape(-1, 2) - start, 0.0, seconds)
    within = within[within[:, 1] - within[:, 0] > _SHORTEST]
    cut[: len(within)] = within
    return cut


def view_saliency(
    saliency: Saliency | None, start: float, step: float, steps: int, most: int
) -> Float32[np.ndarray, " T"]:
    """The saliency of a view from `start` on in `steps` steps of `step` seconds: the mean over each of what is known.

    NaN where nothing is known, and behind the last step.
    """
    scores = np.full(most, np.nan, np.float32)
    if saliency is None or not steps or not saliency.scores:
        return scores
    known = np.array([np.nan if score is None else score for score in saliency.scores], np.float64)
    begin, own = start + step * np.arange(steps)[:, None], saliency.step * np.arange(len(known))
    shared = np.minimum(begin + step, own + saliency.step) - np.maximum(begin, own)
    shared = np.where((shared > _SHORTEST) & ~np.isnan(known), shared, 0.0)
    total = shared.sum(1)
    mean = shared @ np.nan_to_num(known) / np.where(total > 0, total, 1)
    scores[:steps] = np.where(total > 0, mean, np.nan)
    return scores
