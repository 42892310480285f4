"""What the order of scores tells: average precision, area under the ROC curve, precision against recall.

All three are read from one table: how many clips, and how many of them positive, score at least as
high as each distinct score. Tied scores are one entry of it, so that no order among them is invented.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, Shaped


def cumulative(
    scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"]
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """Positives, and clips, that score at least as high as each distinct score, from the highest on."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # By comparison, not by difference: equal infinities are tied too.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.zeros(0, int)
    return np.cumsum(np.asarray(positive, np.int64)[order])[last], last + 1


def average_precision(scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"]) -> float:
    """Average precision: the sum of `(R_k - R_{k-1}) P_k` over the distinct scores.

    The step-wise sum without interpolation that scikit-learn's `average_precision_score` defines, and
    AudioSet's evaluations use. NaN without a positive.
    """
    found, answered = cumulative(scores, positive)
    if not len(found) or not found[-1]:
        return math.nan
    return float(np.diff(found, prepend=0) @ (found / answered) / found[-1])


def roc_auc(scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"]) -> float:
    """Probability that a positive scores higher than a negative, a tie counting half.

    The area under the ROC curve by trapezoids. NaN without a positive or without a negative.
    """
    found, answered = cumulative(scores, positive)
    if not len(found) or found[-1] in (0, answered[-1]):
        return math.nan
    wrong = answered - found
    area = np.diff(wrong, prepend=0) @ (found + np.concatenate([[0], found[:-1]]))
    return float(area / 2 / (float(found[-1]) * float(wrong[-1])))


def d_prime(auc: float) -> float:
    """Separation of two unit normals whose area under the ROC curve is `auc`: `sqrt(2) * Phi^-1(auc)`.

    The formula of Hershey et al. 2017 ("CNN architectures for large-scale audio classification"). AudioSet's
    papers take it of the mean AUC over classes, not as a mean over classes (Kong et al. 2020, "PANNs").
    Infinite at an AUC of 1.
    """
    from scipy.special import ndtri

    return float(math.sqrt(2.0) * ndtri(auc))


def precision_recall(
    scores: Float[np.ndarray, "n"], positive: Shaped[np.ndarray, "n"], most: int = 200
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Recall and precision at distinct scores, from the highest on, for a plot.

    At most `most` points: of a longer curve, the first that reaches each of `most` recalls, evenly spaced.
    """
    found, answered = cumulative(scores, positive)
    recall, precision = found / max(int(found[-1]), 1), found / answered
    if len(recall) > most:
        kept = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1.0, most) - 1e-12))
        recall, precision = recall[kept], precision[kept]
    return recall, precision
