"""Moments of a video that a sentence describes, and highlights, by the protocol of QVHighlights.

The source is Lei et al. 2021, "QVHighlights: detecting moments and highlights in videos via natural language queries"
(arXiv 2107.09609), section 5, and its published evaluator where the paper gives no detail:

- R1@IoU: the first window *in the given order*, against the true window that it overlaps best.
- mAP@IoU: the first 10 windows in the given order, then sorted by score. Each window takes the free true window that it
  overlaps most, if by the threshold or more. The AP of a query is the area under the envelope of its precision-recall
  steps (not the 11-point one), and the mean is over queries, not over windows.
- By length of moment: (0, 10], (10, 30] and above 30 seconds. Only true windows of that length count, and only queries
  that have one. Predictions are not filtered, so a window of another length is a false alarm.
- Highlights: the scores of each annotator, binarised at Fair (2), Good (3) or VeryGood (4), give an AP for each query,
  0 if no clip is positive; the mean is over queries and annotators. HIT@1 is 1 if the clip of the highest predicted
  saliency is positive for any annotator.

There is one difference: a query without any predicted window scores 0 here (and is counted in `unanswered`). The
published code leaves it out of the mAP and can't compute R1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation.metrics.arrays import MetricsAndDetails, listed
from mmvideo.evaluation.metrics.ranking import cumulative

THRESHOLDS = np.round(np.linspace(0.5, 0.95, 10), 2)
"""Intersections over union over which the mAP is averaged."""

RECALL_THRESHOLDS: tuple[float, ...] = (0.3, 0.5, 0.7)
"""Intersections over union from which the first window counts as right."""

LENGTHS: dict[str, tuple[float, float]] = {
    "": (0.0, np.inf),
    "short/": (0.0, 10.0),
    "middle/": (10.0, 30.0),
    "long/": (30.0, np.inf),
}
"""Range of the length of a true window in seconds, without its lower end, by the prefix of the metrics' names."""

HIGHLIGHTS: dict[str, int] = {"fair": 2, "good": 3, "very_good": 4}
"""Lowest saliency of a highlight, on the scale 0 ... 4."""

PROTOCOL: dict[str, str] = {
    "r1@IoU": "the first predicted window overlaps some true window by IoU or more",
    "mAP": "detection AP of each query's first 10 windows, mean over queries; mean over IoU 0.5, 0.55 ... 0.95",
    "mIoU": "mean overlap of the first window with the true window that it overlaps best",
    "short, middle, long": "true windows of at most 10, at most 30 and more than 30 seconds",
    "highlight": "mAP over queries and annotators, HIT@1 over annotators, at a saliency of 2, 3 or 4 and more",
    "unanswered": "queries without a predicted window score 0 and are counted; queries without a true one are left out",
    "source": "Lei et al. 2021, arXiv 2107.09609",
}
"""Meaning of the metrics of this file, as written beside them."""

_SAMPLES = 8


def moment_metrics(
    predictions: Sequence[Mapping[str, Any]],
    truth: Sequence[Mapping[str, Any]],
    *,
    most: int = 10,
    clip_seconds: float = 2.0,
) -> MetricsAndDetails:
    """Return the scores of predicted windows and saliencies, in the format of QVHighlights' files.

    Args:
      predictions: One a query: `qid`; `pred_relevant_windows`, a list of `[start, end, score]` in seconds, best first;
        optionally `pred_saliency_scores`, one for each `clip_seconds` of the video.
      truth: One a query: `qid`; `relevant_windows`, a list of `[start, end]`; optionally `duration` in seconds,
        `relevant_clip_ids` and `saliency_scores`, for each of these clips a list of one score an annotator; other clips
        have saliency 0. `query` and `duration` are shown in the details.
      most: Number of windows of a query that count for the mAP.
      clip_seconds: Length of a clip of the saliency.

    Returns:
      Metrics: `r1@IoU` and `mAP@0.5`, `mAP@0.75`, `mAP`, `mIoU`; the same with `queries` after `short/`, `middle/` and
      `long/`, if there are such moments; `highlight/{fair, good, very_good}/{mAP, hit1}` if both sides have saliencies;
      `queries`, `left_out` and `unanswered`.
      Details: `samples` of queries, evenly spaced: `id`, `caption`, `seconds`, `truth`, `predicted`.

    Raises:
      ValueError: The two do not have the same queries, each once, or a window is not `[start, end, score]`.
    """
    pairs = _paired(predictions, truth)
    asked = [(found, true) for found, true in pairs if len(true["relevant_windows"])]
    windows = [(_windows(found), _true_windows(true)) for found, true in asked]
    metrics: dict[str, float | int] = {}
    for prefix, (low, high) in LENGTHS.items():
        # Moments of 8 s and 40 s in one query: it counts for `short/` and `long/`, each with one true window.
        of_length = [(answer, true[_within(true, low, high)]) for answer, true in windows]
        of_length = [(answer, true) for answer, true in of_length if len(true)]
        if of_length:
            metrics |= {f"{prefix}{name}": value for name, value in _localisation(of_length, most).items()}
    metrics |= _highlights(asked, clip_seconds)
    unanswered = sum(not len(answer) for answer, _ in windows)
    metrics |= {"queries": len(asked), "left_out": len(pairs) - len(asked), "unanswered": unanswered}
    return metrics, {"samples": _samples(asked, most)} if asked else {}


def interval_iou(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """Return the intersection over union of every pair of intervals `[start, end]`; 0 if both are empty."""
    inside = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    inside = np.maximum(inside, 0.0)
    # Lengths of 4 s each with 2 s in common, such as [0, 4] and [2, 6]: 2 / (4 + 4 - 2) = 1/3.
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None, :] - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def detection_ap(
    windows: Float[np.ndarray, "p 3"], truth: Float[np.ndarray, "g 2"], thresholds: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    """Return the average precision of one query's windows at each threshold.

    Args:
      windows: `[start, end, score]`; of equal scores the earlier row comes first.
      truth: `[start, end]`, at least one.
      thresholds: Lowest intersections over union with a free true window.
    """
    windows = windows[np.argsort(-windows[:, 2], kind="stable")]
    overlap = interval_iou(windows[:, :2], truth)
    free = np.ones((len(thresholds), len(truth)), bool)
    right = np.zeros((len(thresholds), len(windows)), bool)
    for row in range(len(windows)):
        # The best overlap comes first; the published code visits equal ones from the last true window to the first.
        for column in np.argsort(overlap[row], kind="stable")[::-1]:
            # All thresholds at once: an overlap of 0.6 takes the true window at 0.5, 0.55 and 0.6, and leaves it free
            # above.
            takes = free[:, column] & ~right[:, row] & (overlap[row, column] >= thresholds)
            right[takes, row] = True
            free[takes, column] = False
    return np.array([_envelope_area(row, len(truth)) for row in right])


def _envelope_area(right: Bool[np.ndarray, "p"], truths: int) -> float:
    """Return the area under the envelope of precision over recall, which never falls below a later precision."""
    if not len(right):
        return 0.0
    # Right [1, 0, 1] of 2 true windows: precision [1, 1/2, 2/3], envelope [1, 2/3, 2/3], area (1 + 2/3) / 2 = 5/6.
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / truths)


def highlight_ap(saliency: Float[np.ndarray, "T"], highlight: Bool[np.ndarray, "T"]) -> float:
    """Return the average precision of one query's saliencies: the mean envelope precision where recall grows.

    Clips of equal saliency enter together and count once. The result is 0 if no clip is a highlight, 1 if all are.
    """
    if highlight.all() or not highlight.any():
        return float(highlight.all())
    # Saliency [3, 3, 1] with highlights [1, 0, 1]: positives [1, 2] of clips [2, 3], precision [1/2, 2/3], so 2/3 by
    # the envelope.
    found, answered = cumulative(saliency, highlight)
    envelope = np.maximum.accumulate((found / answered)[::-1])[::-1]
    return float(envelope[np.diff(found, prepend=0) > 0].mean())


def _localisation(queries: Sequence[tuple[np.ndarray, np.ndarray]], most: int) -> dict[str, float | int]:
    """Return the metrics of queries from their predicted and their true windows."""
    # The first window as given, not the one with the highest score; a query without windows has 0.
    first = [interval_iou(answer[:1, :2], true).max(initial=0.0) for answer, true in queries]
    ap = np.stack([detection_ap(answer[:most], true, THRESHOLDS) for answer, true in queries]).mean(axis=0)
    at = dict(zip(THRESHOLDS.tolist(), ap.tolist(), strict=True))
    recall = {f"r1@{bar}": float(np.mean(np.asarray(first) >= bar)) for bar in RECALL_THRESHOLDS}
    return recall | {
        "mAP@0.5": at[0.5],
        "mAP@0.75": at[0.75],
        "mAP": float(ap.mean()),
        "mIoU": float(np.mean(first)),
        "queries": len(queries),
    }


def _highlights(asked: Sequence[tuple[Mapping, Mapping]], clip_seconds: float) -> dict[str, float]:
    """Return `highlight/…` if every query has predicted and annotated saliencies."""
    if not asked or not all("pred_saliency_scores" in found and "saliency_scores" in true for found, true in asked):
        return {}
    metrics = {}
    pairs = [(np.asarray(found["pred_saliency_scores"], float), saliency(true, clip_seconds)) for found, true in asked]
    for name, least in HIGHLIGHTS.items():
        # One AP a query and annotator, then the mean over annotators, then over queries.
        ap = [[highlight_ap(_fitted(answer, len(true)), one >= least) for one in true.T] for answer, true in pairs]
        hit = [_hit(answer, (true >= least).any(axis=1)) for answer, true in pairs]
        metrics |= {
            f"highlight/{name}/mAP": float(np.mean([np.mean(row) for row in ap])),
            f"highlight/{name}/hit1": float(np.mean(hit)),
        }
    return metrics


def saliency(true: Mapping[str, Any], clip_seconds: float = 2.0) -> Int[np.ndarray, "T A"] | Float[np.ndarray, "T A"]:
    """Return the saliency of every clip of a video by each annotator; 0 outside the relevant clips."""
    scores = np.asarray(true["saliency_scores"], float)
    places = np.asarray(true["relevant_clip_ids"], int)
    # A last clip that is cut short counts only if it was rated: 9 s in clips of 2 s are 4 clips, or 5 if the last is.
    whole = np.zeros((max(int(true["duration"] / clip_seconds), places.max(initial=-1) + 1), scores.shape[1]))
    whole[places] = scores
    return whole


def _fitted(scores: Float[np.ndarray, "n"], clips: int) -> Float[np.ndarray, "T"]:
    """Return scores cut to the number of clips, or padded with 0, as in the published code."""
    return np.pad(scores[:clips], (0, max(0, clips - len(scores))))


def _hit(scores: Float[np.ndarray, "n"], highlight: Bool[np.ndarray, "T"]) -> bool:
    """Return True if the clip of the highest score (the first of equals) is a highlight; False past the end."""
    # A best clip beyond the true length of the video is a miss; so is an empty list.
    best = int(scores.argmax()) if len(scores) else len(highlight)
    return bool(best < len(highlight) and highlight[best])


def _within(true: Float[np.ndarray, "g 2"], low: float, high: float) -> Bool[np.ndarray, "g"]:
    """Return a mask of the windows longer than `low` and not longer than `high`."""
    seconds = true[:, 1] - true[:, 0]
    return (seconds > low) & (seconds <= high)


def _paired(
    predictions: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return prediction and truth of every query, in the order of the truth."""
    found = {row["qid"]: row for row in predictions}
    wanted = {row["qid"] for row in truth}
    apart = sorted(map(str, found.keys() ^ wanted))
    if apart:
        raise ValueError(f"{len(apart)} queries have a prediction or a truth but not both: {', '.join(apart[:5])}")
    if len(found) < len(predictions) or len(wanted) < len(truth):
        raise ValueError("a query occurs twice; every qid must occur once on either side")
    return [(found[row["qid"]], row) for row in truth]


def _windows(found: Mapping[str, Any]) -> Float[np.ndarray, "p 3"]:
    rows = np.asarray(found["pred_relevant_windows"], np.float64)
    rows = rows.reshape(0, 3) if not rows.size else rows
    if rows.ndim != 2 or rows.shape[1] != 3 or not np.isfinite(rows).all():
        raise ValueError(f"windows predicted for query {found['qid']} are not all a finite [start, end, score]")
    return rows


def _true_windows(true: Mapping[str, Any]) -> Float[np.ndarray, "g 2"]:
    rows = np.asarray(true["relevant_windows"], np.float64)
    if rows.ndim != 2 or rows.shape[1] != 2 or not (rows[:, 1] > rows[:, 0]).all():
        raise ValueError(f"true windows of query {true['qid']} are not all [start, end] with an end after the start")
    return rows


def _samples(asked: Sequence[tuple[Mapping, Mapping]], most: int) -> list[dict[str, Any]]:
    """Return a few queries for a plot, from the middles of equal parts of the list, independent of their results."""
    places = np.unique(((np.arange(_SAMPLES) + 0.5) * len(asked) / _SAMPLES).astype(int))
    samples = []
    for found, true in (asked[place] for place in places):
        answer = np.asarray(found["pred_relevant_windows"], float).reshape(-1, 3)[:most]
        edges = np.concatenate([np.ravel(true["relevant_windows"]), answer[:, :2].ravel()])
        samples.append({
            "id": str(true["qid"]),
            "caption": str(true.get("query", "")),
            "seconds": float(true.get("duration", edges.max())),
            "truth": listed(np.asarray(true["relevant_windows"], float), 3),
            "predicted": listed(answer, 4),
        })  # fmt: skip
    return samples
