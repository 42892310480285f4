"""Metrics of clips with one label of each kind.

**Of classes with equal scores, the one with the lower index comes first**, in the prediction and in every top-k, as in
`argmax`. A model that gives every class the same score thus always predicts the first class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.metrics.arrays import MetricsAndDetails, checked, listed
from mmvideo.evaluation.metrics.chance import binomial_tail
from mmvideo.evaluation.metrics.counts import Counts
from mmvideo.evaluation.metrics.multilabel import pr_curves, ranking_metrics

CONFUSION_CLASSES = 400
"""Largest number of classes of a confusion matrix in the details."""

PROTOCOL: dict[str, str] = {
    "ties": "of equal scores the class with the lower index comes first",
    "class_mean_accuracy": "mean over the classes present of the share of their clips predicted right (macro recall)",
    "class_mean_recall@5": "mean over the classes present of the share of their clips with the class among the first 5",
    "f1": "macro and weighted over the classes present; a class that is never predicted has precision 0",
    "mAP": "mean over the classes present of average precision, each class against the rest",
    "d_prime": "sqrt(2) * inverse normal of the mean AUC, each class against the rest",
    "chance": "share of the most frequent class among the clips",
    "p_value": "one-sided exact binomial test of top-1 against chance",
    "missing": "clips whose class is unknown are left out and counted in left_out",
}
"""Meaning of the metrics of this file, as written beside them."""

_CONFUSED = 30
_PAIRS = 4_000_000  # pairs of clip and joint class compared at a time: 32 MiB


def classification_metrics(
    scores: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"], classes: Sequence[str]
) -> MetricsAndDetails:
    """Return the scores of clips with one label.

    Args:
      scores: Scores of each class: probabilities, or other scores that can be compared between clips (for mAP and AUC).
      truth: Class indices; negative if unknown.
      classes: Class names.

    Returns:
      Metrics: `top1`; `top5` and `class_mean_recall@5` (if there are more than 5 classes); `class_mean_accuracy`,
        `{macro,
      micro, weighted}_{precision, recall, f1}`, `mAP`, `auc`, `d_prime`, `chance`, `p_value`, `classes`,
      `absent_classes`, `clips` and `left_out`; only the last two if nothing is known.
      Details: `classes`; `confusion` (rows are the truth), or `confusion_left_out` with the reason; `most_confused`,
      `[truth, prediction, clips]` of the most frequent mistakes; `per_class` (lists of `precision`, `recall`, `f1`,
      `support`, `average_precision`, `auc`); `pr_curves`; `absent`, names of classes.

    Raises:
      ValueError: Shapes do not fit, scores hold NaN, or the truth has an index that is no class.
    """
    scores, truth = checked(scores, len(classes)), _checked_truth(truth, len(scores), len(classes))
    known = truth >= 0
    count = {"clips": int(known.sum()), "left_out": int((~known).sum())}
    if not known.any():
        return count, {}
    scores, truth = scores[known], truth[known]
    confusion = confusion_matrix(scores.argmax(axis=1), truth, len(classes))
    # Column sums count predictions of a class, row sums its clips.
    counts = Counts(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1))
    metrics = top_metrics(scores, truth)
    metrics |= {"class_mean_accuracy": float(counts.recall[counts.present].mean())} | counts.averages()
    one_of = np.zeros(scores.shape)
    one_of[np.arange(len(truth)), truth] = 1.0
    ranked, per_class = ranking_metrics(scores, one_of)
    chance = float(counts.support.max() / len(truth))
    p_value = binomial_tail(int(confusion.trace()), len(truth), chance)
    per_class |= {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1, "support": counts.support}
    details = {
        "classes": list(classes),
        **_confusion_details(confusion, classes),
        "per_class": {name: listed(values) for name, values in per_class.items()},
        "pr_curves": pr_curves(scores, one_of, classes, per_class["average_precision"]),
        "absent": [name for name, present in zip(classes, counts.present, strict=True) if not present],
    }
    return metrics | ranked | {"chance": chance, "p_value": p_value} | count, details


def top_metrics(scores: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"]) -> dict[str, float | int]:
    """Return `top1`, `ties`, and for more than 5 classes `top5` and `class_mean_recall@5`.

    `ties` counts the clips with several likeliest classes; the first of them is the prediction.
    """
    rank = ranks(scores, truth)
    tied = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    metrics = {"top1": float((rank <= 1).mean()), "ties": int(tied.sum())}
    if scores.shape[1] > 5:
        metrics |= {"top5": float((rank <= 5).mean()), "class_mean_recall@5": _class_mean(rank <= 5, truth)}
    return metrics


def ranks(scores: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return the rank of the true class among all, from 1; equal scores are ordered by class index."""
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    # Scores [0.4, 0.4, 0.2], truth 1: none is higher, but class 0 is equal and before it, so the rank is 2.
    before = np.arange(scores.shape[1])[None] < truth[:, None]
    return 1 + (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)


def confusion_matrix(answer: Int[np.ndarray, "n"], truth: Int[np.ndarray, "n"], classes: int) -> Int[np.ndarray, "C C"]:
    """Count the clips of each true class (row) and predicted class (column)."""
    # Truth 1 and prediction 2 of 3 classes: cell 1 * 3 + 2 = 5 of the flattened matrix.
    return np.bincount(truth * classes + answer, minlength=classes**2).reshape(classes, classes)


def action_metrics(
    probabilities: Mapping[str, Float[np.ndarray, "n _"]], truth: Mapping[str, Int[np.ndarray, "n"]]
) -> dict[str, float | int]:
    """Return the scores of several heads that must be right together: EPIC-Kitchens' action of verb and noun.

    An action is a combination of one class of each head, and its probability is the product of theirs, so that the best
    action is the best class of every head (Damen et al. 2022, "Rescaling egocentric vision").

    Args:
      probabilities: Class probabilities of each head.
      truth: Class indices by head; negative if unknown.

    Returns:
      `top1` (every head right), `top5` (the true combination is among the 5 most probable), `class_mean_recall@5` (over
        the
      combinations that occur, as anticipation is scored), `clips`, and `left_out`, the clips with an unknown class of
        any
      head.

    Raises:
      ValueError: As for `classification_metrics`.
    """
    scores = {name: checked(values, np.shape(values)[-1]) for name, values in probabilities.items()}
    sizes = [values.shape[1] for values in scores.values()]
    labels = [_checked_truth(truth[name], len(scores[name]), size) for name, size in zip(scores, sizes, strict=True)]
    known = np.all([label >= 0 for label in labels], axis=0)
    count = {"clips": int(known.sum()), "left_out": int((~known).sum())}
    if not known.any():
        return count
    labels = [label[known] for label in labels]
    with np.errstate(divide="ignore"):
        logs = [np.log(values[known]) for values in scores.values()]
    # Log probabilities add up where probabilities multiply, and do not underflow; log 0 = -inf is a valid score.
    right = np.all([log.argmax(axis=1) == label for log, label in zip(logs, labels, strict=True)], axis=0)
    joint = np.ravel_multi_index(labels, sizes)
    first_five = _joint_ranks(logs, joint) <= 5
    found = {"top1": float(right.mean()), "top5": float(first_five.mean())}
    return found | {"class_mean_recall@5": _class_mean(first_five, joint)} | count


def _joint_ranks(logs: Sequence[Float[np.ndarray, "n _"]], joint: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return the rank of the true combination among all of them, in blocks of clips that fit into memory."""
    combinations = int(np.prod([log.shape[1] for log in logs]))
    block = max(1, _PAIRS // combinations)
    places = []
    for first in range(0, len(joint), block):
        whole = logs[0][first : first + block]
        for log in logs[1:]:
            # Log probabilities of verbs [n, V] and nouns [n, N] add up to [n, V, N]; the combination (v, n) has index v
            # * N + n, as in `ravel_multi_index`.
            whole = (whole[:, :, None] + log[first : first + block, None, :]).reshape(len(whole), -1)
        places.append(ranks(whole, joint[first : first + block]))
    return np.concatenate(places)


def _class_mean(hit: np.ndarray, truth: Int[np.ndarray, "n"]) -> float:
    """Return the mean over the classes that occur of the share of their clips that are hit."""
    # Truth [4, 4, 9], hit [1, 0, 1]: class 4 has 1/2, class 9 has 1/1, the mean is 0.75.
    _, number, size = np.unique(truth, return_inverse=True, return_counts=True)
    return float((np.bincount(number, hit) / size).mean())


def _confusion_details(confusion: Int[np.ndarray, "C C"], classes: Sequence[str]) -> dict:
    """Return the matrix if it is small enough to write, and the most frequent mistakes."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSED]
    pairs = [(*divmod(int(place), len(classes)), int(wrong.flat[place])) for place in most]
    found: dict = {"most_confused": [[classes[row], classes[column], clips] for row, column, clips in pairs if clips]}
    if len(classes) > CONFUSION_CLASSES:
        said = f"the confusion matrix of {len(classes)} classes is left out; the limit is {CONFUSION_CLASSES} classes"
        return found | {"confusion_left_out": said}
    return found | {"confusion": confusion.tolist()}


def _checked_truth(truth: Int[np.ndarray, "n"], clips: int, classes: int) -> Int[np.ndarray, "n"]:
    """Return class indices as int64."""
    truth = np.asarray(truth).astype(np.int64)
    if truth.shape != (clips,):
        raise ValueError(f"{clips} rows of scores do not match a truth of shape {list(truth.shape)}")
    if truth.size and truth.max() >= classes:
        raise ValueError(f"the truth names class {truth.max()}, but there are scores of only {classes} classes")
    return truth
