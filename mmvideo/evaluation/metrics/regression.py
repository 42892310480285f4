"""Metrics of clips that have a number: mean absolute error, correlation, and CMU-MOSEI's.

CMU-MOSEI's sentiment is a number in -3 ... 3, and papers report it in classes too:

- Acc-2, **negative against not negative**: Zadeh et al. 2017, EMNLP, "Tensor fusion network for
  multimodal sentiment analysis", and the `Has0` scores of the MMSA toolbox;
- Acc-2, **negative against positive**, clips of truth zero left out: Tsai et al. 2019, ACL,
  "Multimodal transformer for unaligned multimodal language sequences", and MMSA's `Non0` scores; here
  an answer of exactly zero counts as negative;
- F1 of either pair of classes, each class's F1 weighted by its clips (`f1_…`); and weighted by its answers
  (`f1_…_by_answers`), which is what the published code prints: that of Tsai et al. and MMSA hand the answers to
  scikit-learn's `f1_score` as the truth, and the truth as the answers. A class's F1 is the same both ways, its weight
  is not, so that MulT's 82.3 is to be set beside the latter;
- Acc-7: both numbers clipped to -3 ... 3 and rounded (halves to the even number, as numpy does).

Since Yu et al. 2021, AAAI, "Learning modality-specific representations with self-supervised multi-task
learning", papers print both Acc-2 and both F1 as `a/b`, in the order of this list.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num

from mmvideo.evaluation.metrics.arrays import MetricsAndDetails, listed
from mmvideo.evaluation.metrics.counts import Counts

PROTOCOL: dict[str, str] = {
    "mae": "mean absolute error",
    "pearson": "Pearson correlation; none where either side is constant",
    "chance_mae": "mean absolute error of always answering the median of the clips",
    "acc2_nonneg": "negative against not negative, by >= 0 on both sides (Zadeh et al. 2017)",
    "acc2_posneg": "negative against positive, by > 0, clips of truth 0 left out (Tsai et al. 2019)",
    "f1_nonneg, f1_posneg": "F1 of the two classes, weighted by their clips",
    "f1_nonneg_by_answers, f1_posneg_by_answers": "the same weighted by their answers, as the code of Tsai et al. 2019 "
    "and of MMSA does, which hands answers for truth",
    "acc7": "both sides clipped to -3 ... 3 and rounded, halves to even",
    "missing": "clips whose number is unknown are left out and counted in left_out",
}
"""What the numbers of this file mean, as it is written beside them."""

_POINTS = 600


def regression_metrics(
    predicted: Num[np.ndarray, "n"], truth: Num[np.ndarray, "n"], *, sentiment: bool = False
) -> MetricsAndDetails:
    """Scores of predicted numbers.

    Args:
      predicted: one number a clip.
      truth: the numbers; NaN where unknown.
      sentiment: whether they are sentiments in -3 ... 3, which have metrics of their own.

    Returns:
      Metrics: `mae`, `pearson`, `chance_mae`, for sentiments those of `sentiment_metrics`, `clips` and
      `left_out`; only the last two where nothing is known.
      Details: `truth` and `predicted` of clips taken evenly (for a scatter plot), and `shown` of how many `clips`.

    Raises:
      ValueError: shapes that do not fit, or a prediction that is not finite.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.ndim != 1 or predicted.shape != truth.shape:
        raise ValueError(f"predictions of shape {list(predicted.shape)} beside a truth of shape {list(truth.shape)}")
    known = ~np.isnan(truth)
    count = {"clips": int(known.sum()), "left_out": int((~known).sum())}
    if not known.any():
        return count, {}
    predicted, truth = predicted[known], truth[known]
    if not np.isfinite(predicted).all():
        raise ValueError("predicted numbers are not all finite; has the run diverged?")
    metrics = {
        "mae": float(np.abs(predicted - truth).mean()),
        "pearson": pearson(predicted, truth),
        "chance_mae": float(np.abs(truth - np.median(truth)).mean()),
    }
    if sentiment:
        metrics |= sentiment_metrics(predicted, truth)
    some = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), _POINTS)).round().astype(int))
    details = {"truth": listed(truth[some], 4), "predicted": listed(predicted[some], 4)}
    return metrics | count, details | {"shown": len(some), "clips": len(truth)}


def pearson(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> float:
    """Pearson correlation; NaN where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def sentiment_metrics(predicted: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"]) -> dict[str, float]:
    """`acc2_`, `f1_` and `f1_…_by_answers` of `nonneg` and `posneg`, and `acc7`, of sentiments in -3 ... 3.

    Those of `posneg` are NaN where every truth is zero.
    """
    felt = truth != 0
    sides = {
        "nonneg": ((predicted >= 0).astype(int), (truth >= 0).astype(int)),
        "posneg": ((predicted[felt] > 0).astype(int), (truth[felt] > 0).astype(int)),
    }
    metrics = {}
    for name, (answer, true) in sides.items():
        metrics[f"acc2_{name}"] = float((answer == true).mean()) if len(true) else float("nan")
        metrics[f"f1_{name}"] = _counts(answer, true).averages()["weighted_f1"]
        metrics[f"f1_{name}_by_answers"] = _counts(true, answer).averages()["weighted_f1"]
    rounded = [np.round(np.clip(values, -3.0, 3.0)) for values in (predicted, truth)]
    return metrics | {"acc7": float((rounded[0] == rounded[1]).mean())}


def _counts(answer: Int[np.ndarray, "n"], true: Int[np.ndarray, "n"]) -> Counts:
    """Counts of two classes."""
    right = np.bincount(true[answer == true], minlength=2)
    return Counts(right, np.bincount(answer, minlength=2), np.bincount(true, minlength=2))
