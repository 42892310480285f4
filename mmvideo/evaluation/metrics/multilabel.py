"""Metrics of clips with several labels, and of single labels, each against the rest.

The main metric is the macro mAP: the mean over classes of the average precision. A class without a positive clip has
none. Such absent classes are left out of the mean, counted and named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Num

from mmvideo.evaluation.metrics.arrays import MetricsAndDetails, checked, listed, mean
from mmvideo.evaluation.metrics.counts import Counts
from mmvideo.evaluation.metrics.ranking import average_precision, d_prime, precision_recall, roc_auc

THRESHOLD = 0.5
"""Lowest probability at which a class is predicted."""

PROTOCOL: dict[str, str] = {
    "mAP": "mean over the classes present of average precision, sum of (R_k - R_k-1) P_k without interpolation",
    "micro_ap": "average precision over all pairs of clip and class at once",
    "auc": "mean over classes of the area under the ROC curve, a tie counting half",
    "d_prime": "sqrt(2) * inverse normal of the mean AUC (AudioSet), not a mean over classes",
    "f1": f"a class is predicted at a probability of {THRESHOLD} or more; macro over the classes present",
    "missing": "an unknown target takes no part; clips without any known target are counted in left_out",
}
"""Meaning of the metrics of this file, as written beside them."""

_CURVES = 3


def multilabel_metrics(
    probabilities: Float[np.ndarray, "n C"], targets: Num[np.ndarray, "n C"], classes: Sequence[str]
) -> MetricsAndDetails:
    """Return the scores of clips with several labels.

    Args:
      probabilities: Probability of each class by itself (sigmoid). Only F1 needs probabilities; the other metrics need
        scores whose order is right across clips.
      targets: 1 if the clip has the label, 0 if not, NaN if unknown.
      classes: Class names.

    Returns:
      Metrics: those of `ranking_metrics`, `micro_ap`, `{macro, micro, weighted}_{precision, recall, f1}`, `clips` and
      `left_out`; only the last two if nothing is known.
      Details: `classes`, `per_class` (lists of `average_precision`, `auc`, `precision`, `recall`, `f1`, `support`),
      `pr_curves` and `absent` (names of classes).

    Raises:
      ValueError: Shapes do not fit, scores hold NaN, or targets are other than 0, 1 and NaN.
    """
    scores = checked(probabilities, len(classes))
    targets = np.asarray(targets, np.float64)
    known = ~np.isnan(targets)
    if targets.shape != scores.shape:
        raise ValueError(f"targets of shape {list(targets.shape)} do not match scores of shape {list(scores.shape)}")
    if not np.isin(targets[known], (0.0, 1.0)).all():
        raise ValueError("targets of several labels must be 0, 1 or NaN (unknown)")
    clips = known.any(axis=1)
    count = {"clips": int(clips.sum()), "left_out": int((~clips).sum())}
    if not clips.any():
        return count, {}
    metrics, per_class = ranking_metrics(scores, targets)
    # All pairs of clip and class in one ranking, so frequent classes weigh more than in the mAP.
    metrics["micro_ap"] = average_precision(scores[known], targets[known])
    # An unknown target counts neither as predicted nor as true: NaN == 1.0 is False.
    answer = (scores >= THRESHOLD) & known
    true = targets == 1.0
    counts = Counts((answer & true).sum(axis=0), answer.sum(axis=0), true.sum(axis=0))
    per_class |= {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1, "support": counts.support}
    details = {
        "classes": list(classes),
        "per_class": {name: listed(values) for name, values in per_class.items()},
        "pr_curves": pr_curves(scores, targets, classes, per_class["average_precision"]),
        "absent": [name for name, present in zip(classes, counts.present, strict=True) if not present],
    }
    return metrics | counts.averages() | count, details


def ranking_metrics(
    scores: Float[np.ndarray, "n C"], targets: Num[np.ndarray, "n C"]
) -> tuple[dict[str, float | int], dict[str, Float[np.ndarray, "C"]]]:
    """Return the metrics that depend only on the order of the clips within each class.

    Args:
      scores: Scores that can be compared between clips.
      targets: 1, 0, or NaN if unknown.

    Returns:
      Metrics: `mAP`, `auc` and `d_prime` over the classes for which they are defined, the number of all `classes` and
        of
      `absent_classes`. Then `average_precision` and `auc` of each class, NaN if undefined.
    """
    precision, area = np.full(scores.shape[1], np.nan), np.full(scores.shape[1], np.nan)
    for number in range(scores.shape[1]):
        known = ~np.isnan(targets[:, number])
        column, positive = scores[known, number], targets[known, number]
        precision[number], area[number] = average_precision(column, positive), roc_auc(column, positive)
    auc = mean(area)
    metrics = {
        "mAP": mean(precision),
        "auc": auc,
        # d' of the mean AUC, as in AudioSet's papers: one class with an AUC of 1 would make a mean of d' infinite.
        "d_prime": d_prime(auc),
        "classes": scores.shape[1],
        "absent_classes": int(np.isnan(precision).sum()),
    }
    return metrics, {"average_precision": precision, "auc": area}


def pr_curves(
    scores: Float[np.ndarray, "n C"],
    targets: Num[np.ndarray, "n C"],
    classes: Sequence[str],
    precision: Float[np.ndarray, "C"],
) -> dict[str, dict]:
    """Return precision-recall curves of the best, the middle and the worst classes, best first.

    Args:
      scores: Scores that can be compared between clips.
      targets: 1, 0, or NaN if unknown.
      classes: Class names.
      precision: Average precision of each class, NaN if undefined.

    Returns:
      By class name: `recall` and `precision` (points), `average_precision`, and `rank` among the defined classes, from
        1.
    """
    # Best class first; argsort puts the NaN of absent classes last, and the filter drops them.
    order = [int(number) for number in np.argsort(-precision, kind="stable") if not np.isnan(precision[number])]
    # 20 classes: places 0, 1, 2, then 9, 10, 11, then 17, 18, 19.
    middle = len(order) // 2 - _CURVES // 2
    places = range(len(order))
    if len(order) > 3 * _CURVES:
        places = [*places[:_CURVES], *places[middle : middle + _CURVES], *places[-_CURVES:]]
    curves = {}
    for place in places:
        number = order[place]
        known = ~np.isnan(targets[:, number])
        recall, values = precision_recall(scores[known, number], targets[known, number])
        curves[classes[number]] = {
            "recall": listed(recall, 4),
            "precision": listed(values, 4),
            "average_precision": round(float(precision[number]), 6),
            "rank": place + 1,
        }
    return curves
