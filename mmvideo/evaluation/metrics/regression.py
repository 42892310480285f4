"""Metrics of clips with a number: mean absolute error, correlation, and the metrics of CMU-MOSEI.

CMU-MOSEI's sentiment is a number in -3 ... 3. Papers also report it in classes:

- Acc-2, **negative against not negative**: Zadeh et al. 2017, EMNLP, "Tensor fusion network for multimodal sentiment
  analysis", and the `Has0` scores of the MMSA toolbox;
- Acc-2, **negative against positive**, without clips of truth zero: Tsai et al. 2019, ACL, "Multimodal transformer for
  unaligned multimodal language sequences", and MMSA's `Non0` scores. A prediction of exactly zero counts as negative
  here;
- F1 of either pair of classes, each class weighted by its clips (`f1_…`), or by its predictions (`f1_…_by_answers`).
  The published code prints the latter: Tsai et al. and MMSA pass the predictions to scikit-learn's `f1_score` as the
  truth, and the truth as the predictions. The F1 of a class is the same in both orders, but its weight is not. Compare
  MulT's 82.3 with the latter;
- Acc-7: both numbers clipped to -3 ... 3 and rounded (halves to the even number, as in numpy).

Since Yu et al. 2021, AAAI, "Learning modality-specific representations with self-supervised multi-task learning",
papers print both Acc-2 and both F1 as `a/b`, in the order of this list.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num

from mmvideo.evaluation.metrics.arrays import MetricsAndDetails, listed
from mmvideo.evaluation.metrics.counts import Counts

PROTOCOL: dict[str, str] = {
    "mae": "mean absolute error",
    "pearson": "Pearson correlation; none if either side is constant",
    "chance_mae": "mean absolute error of always predicting the median of the clips",
    "acc2_nonneg": "negative against not negative, by >= 0 on both sides (Zadeh et al. 2017)",
    "acc2_posneg": "negative against positive, by > 0, clips of truth 0 left out (Tsai et al. 2019)",
    "f1_nonneg, f1_posneg": "F1 of the two classes, weighted by their clips",
    "f1_nonneg_by_answers, f1_posneg_by_answers": "the same weighted by their predictions, as in the code of Tsai et "
    "al. 2019 and of MMSA, which passes predictions as the truth",
    "acc7": "both sides clipped to -3 ... 3 and rounded, halves to even",
    "missing": "clips whose number is unknown are left out and counted in left_out",
}
"""Meaning of the metrics of this file, as written beside them."""

_POINTS = 600


def regression_metrics(
    predicted: Num[np.ndarray, "n"], truth: Num[np.ndarray, "n"], *, sentiment: bool = False
) -> MetricsAndDetails:
    """Return the scores of predicted numbers.

    Args:
      predicted: One number a clip.
      truth: True numbers; NaN if unknown.
      sentiment: True for sentiments in -3 ... 3, which have extra metrics.

    Returns:
      Metrics: `mae`, `pearson`, `chance_mae`, for sentiments also `sentiment_metrics`, `clips` and `left_out`; only the
      last two if nothing is known.
      Details: `truth` and `predicted` of evenly spaced clips (for a scatter plot), and the number `shown` of all
        `clips`.

    Raises:
      ValueError: Shapes do not fit, or a prediction is not finite.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.ndim != 1 or predicted.shape != truth.shape:
        raise ValueError(
            f"predictions {list(predicted.shape)} do not match the shape of the truth, {list(truth.shape)}"
        )
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
    """Return the Pearson correlation; NaN if either side is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def sentiment_metrics(predicted: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"]) -> dict[str, float]:
    """Return `acc2_`, `f1_` and `f1_…_by_answers` of `nonneg` and `posneg`, and `acc7`, of sentiments in -3 ... 3.

    The metrics of `posneg` are NaN if every truth is zero.
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
        # Swapping the two sides swaps precision and recall, which leaves F1 alone and changes the weights to those of
        # predictions.
        metrics[f"f1_{name}_by_answers"] = _counts(true, answer).averages()["weighted_f1"]
    # 3.4 is clipped to 3; 0.5 and 2.5 are rounded to 0 and 2, the even neighbours.
    rounded = [np.round(np.clip(values, -3.0, 3.0)) for values in (predicted, truth)]
    return metrics | {"acc7": float((rounded[0] == rounded[1]).mean())}


def _counts(answer: Int[np.ndarray, "n"], true: Int[np.ndarray, "n"]) -> Counts:
    """Return the counts of two classes."""
    # truth [0, 1, 1], prediction [0, 1, 0]: right [1, 1], predicted [2, 1], support [1, 2].
    right = np.bincount(true[answer == true], minlength=2)
    return Counts(right, np.bincount(answer, minlength=2), np.bincount(true, minlength=2))
