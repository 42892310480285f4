"""Decoding of the predictions for every step of a long video's views into a few moments, best first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation.metrics.moments import interval_iou

Moment = tuple[float, float, float]
"""Start and end in seconds, and a score."""

PROTOCOL: dict[str, str] = {
    "windows": "every step of every view predicts one; the windows of all views compete",
    "suppression": "best first; a window is left out if its intersection over union with a kept one is above the limit",
    "saliency": "of an interval: the mean over the steps of all views whose middle lies in it",
}
"""Meaning of the metrics of this file, as written beside them."""


def moments_of(
    windows: Float[np.ndarray, "v T 2"],
    scores: Float[np.ndarray, "v T"],
    steps: Bool[np.ndarray, "v T"],
    start: Float[np.ndarray, " v"],
    *,
    iou: float = 0.7,
    most: int = 10,
) -> list[Moment]:
    """Return the moments of one video from all its views, best first.

    Views that slide over a long video should overlap by more than the length of a usual moment: a moment that no view
    sees whole is found in several parts.

    Args:
      windows: Start and end that each step of a view predicts, in seconds from the start of the view.
      scores: Scores of those windows.
      steps: Mask of the steps that a view has.
      start: Start of each view in the video, in seconds.
      iou: Intersection over union with a better window above which a window is left out (QVHighlights' code: 0.7).
      most: Largest number of moments; QVHighlights scores ten.
    """
    real = steps & (windows[..., 1] > windows[..., 0])
    moved, scores = (windows + start[:, None, None])[real], scores[real]
    kept = suppress(moved, scores, iou)[:most]
    return [(float(moved[n, 0]), float(moved[n, 1]), float(scores[n])) for n in kept]


def suppress(windows: Float[np.ndarray, "n 2"], scores: Float[np.ndarray, " n"], iou: float) -> Int[np.ndarray, " k"]:
    """Return the index of the windows that non-maximum suppression in time keeps, best first.

    Of equal scores the first window comes first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        # Windows [0, 4], [0, 5], [6, 9] with scores 0.9, 0.8, 0.5 and iou 0.7: the second overlaps the first by 4/5 and
        # is left out; the result is [0, 2].
        order = order[interval_iou(windows[best][None], windows[order])[0] <= iou]
    return np.array(kept, np.int64)


def saliency_of(
    saliency: Float[np.ndarray, "v T"],
    time: Float[np.ndarray, "v T"],
    steps: Bool[np.ndarray, "v T"],
    start: Float[np.ndarray, " v"],
    *,
    every: float,
    count: int,
) -> Float[np.ndarray, " n"]:
    """Return the saliency of equal intervals of one video from all its views; NaN for an interval without a step.

    A step belongs to the interval that holds its middle.

    Args:
      saliency: Saliency of each step of a view.
      time: Middle of each step, in seconds from the start of the view.
      steps: Mask of the steps that a view has.
      start: Start of each view in the video, in seconds.
      every: Length of an interval in seconds; QVHighlights has 2.
      count: Number of intervals.
    """
    # A view from 3 s with step middles 0.5 and 1.5 s, every 2 s: (3.5, 4.5) / 2 are in intervals [1, 2].
    place = np.floor((time + start[:, None]) / every).astype(np.int64)
    real = steps & (place >= 0) & (place < count)
    total = np.bincount(place[real], weights=saliency[real], minlength=count)
    number = np.bincount(place[real], minlength=count)
    return np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
