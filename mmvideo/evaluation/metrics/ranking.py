"""Metrics of the order of scores: average precision, area under the ROC curve, precision-recall curve.

All three come from one table: for each distinct score, the number of clips, and of positive clips, that score at least
as high. Tied scores are one entry, so that no order among them is invented.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, Shaped


def cumulative(
    scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"]
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """Count the positives, and the clips, that score at least as high as each distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # Scores [0.9, 0.5, 0.5], positive [1, 0, 1]: the last rows of equal scores are [0, 2], so positives are [1, 2] and
    # clips [1, 3]. Comparison instead of difference: equal infinities are tied too, and inf - inf would be NaN.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.zeros(0, int)
    return np.cumsum(np.asarray(positive, np.int64)[order])[last], last + 1


def average_precision(scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"]) -> float:
    """Return the average precision: the sum of `(R_k - R_{k-1}) P_k` over the distinct scores.

    It is the step-wise sum without interpolation of scikit-learn's `average_precision_score` and of AudioSet's
    evaluations. It is NaN without a positive.
    """
    found, answered = cumulative(scores, positive)
    if not len(found) or not found[-1]:
        return math.nan
    # Positives [1, 2] of clips [1, 3]: steps of recall 1/2 each with precision 1 and 2/3, so 5/6.
    return float(np.diff(found, prepend=0) @ (found / answered) / found[-1])


def roc_auc(scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"]) -> float:
    """Return the probability that a positive scores higher than a negative, with a tie counting half.

    It is the area under the ROC curve by trapezoids, and NaN without a positive or without a negative.
    """
    found, answered = cumulative(scores, positive)
    if not len(found) or found[-1] in (0, answered[-1]):
        return math.nan
    wrong = answered - found
    # The same table: negatives [0, 1], so the second step adds 1 * (2 + 1) / 2 = 1.5 of 2 * 1, and the area is 0.75.
    area = np.diff(wrong, prepend=0) @ (found + np.concatenate([[0], found[:-1]]))
    return float(area / 2 / (float(found[-1]) * float(wrong[-1])))


def d_prime(auc: float) -> float:
    """Return the separation of two unit normals with the area `auc` under the ROC curve: `sqrt(2) * Phi^-1(auc)`.

    The formula is from Hershey et al. 2017 ("CNN architectures for large-scale audio classification"). AudioSet's
    papers apply it to the mean AUC over classes, instead of averaging it over classes (Kong et al. 2020, "PANNs"). It
    is infinite at an AUC of 1.
    """
    from scipy.special import ndtri

    return float(math.sqrt(2.0) * ndtri(auc))


def precision_recall(
    scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"], most: int = 200
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return recall and precision at distinct scores, highest first, for a plot.

    There are at most `most` points. A longer curve keeps the first point at each of `most` evenly spaced recalls.
    """
    found, answered = cumulative(scores, positive)
    recall, precision = found / max(int(found[-1]), 1), found / answered
    if len(recall) > most:
        kept = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1.0, most) - 1e-12))
        recall, precision = recall[kept], precision[kept]
    return recall, precision
