"""From what every step of the views of a long video answers to a few moments of the video, best first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation.metrics.moments import interval_iou

Moment = tuple[float, float, float]
"""Start and end in seconds, and a score."""

PROTOCOL: dict[str, str] = {
    "windows": "every step of every view answers one; those of all views compete",
    "suppression": "best first; a window is left out if its intersection over union with a kept one is above the limit",
    "saliency": "of a stretch: the mean over the steps, of all views, whose middle lies in it",
}
"""What the numbers of this file mean, as it is written beside them."""


def moments_of(
    windows: Float[np.ndarray, "v T 2"],
    scores: Float[np.ndarray, "v T"],
    steps: Bool[np.ndarray, "v T"],
    start: Float[np.ndarray, " v"],
    *,
    iou: float = 0.7,
    most: int = 10,
) -> list[Moment]:
    """The moments of one video from all its views, best first.

    Views that slide over a long video should overlap by more than a usual moment lasts: one that is longer
    than what any view sees of it is found in pieces.

    Args:
      windows: start and end that each step of a view answers, in seconds after the start of the view.
      scores: of those windows.
      steps: which steps a view has.
      start: of each view in the video, in seconds.
      iou: windows that share more than this with a better one are left out (QVHighlights' code: 0.7).
      most: of the moments that are kept; QVHighlights scores ten.
    """
    real = steps & (windows[..., 1] > windows[..., 0])
    moved, scores = (windows + start[:, None, None])[real], scores[real]
    kept = suppress(moved, scores, iou)[:most]
    return [(float(moved[n, 0]), float(moved[n, 1]), float(scores[n])) for n in kept]


def suppress(windows: Float[np.ndarray, "n 2"], scores: Float[np.ndarray, " n"], iou: float) -> Int[np.ndarray, " k"]:
    """Non-maximum suppression in time: the numbers of the windows that are kept, best first.

    Of equal scores the window that stands first goes first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
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
    """The saliency of even stretches of one video from all its views; NaN where no step's middle lies in a stretch.

    Args:
      saliency: of each step of a view.
      time: middle of each step, in seconds after the start of the view.
      steps: which steps a view has.
      start: of each view in the video, in seconds.
      every: seconds of a stretch; QVHighlights has 2.
      count: of the stretches.
    """
    place = np.floor((time + start[:, None]) / every).astype(np.int64)
    real = steps & (place >= 0) & (place < count)
    total = np.bincount(place[real], weights=saliency[real], minlength=count)
    number = np.bincount(place[real], minlength=count)
    return np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
