"""Metrics of clips that have one label of each kind.

**Equal scores: the class with the lower number comes first**, in the answer as in every top-k, as
`argmax` has it. A model that gives every class the same score thus always answers the first class.
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
"""A confusion matrix of more classes is left out of the details."""

PROTOCOL: dict[str, str] = {
    "ties": "of equal scores the class with the lower number comes first",
    "class_mean_accuracy": "mean over the classes present of the share of their clips answered rightly (macro recall)",
    "class_mean_recall@5": "mean over the classes present of the share of their clips with the class among the first 5",
    "f1": "macro and weighted over the classes present; a class that is never answered has precision 0",
    "mAP": "mean over the classes present of average precision, each class against the rest",
    "d_prime": "sqrt(2) * inverse normal of the mean AUC, each class against the rest",
    "chance": "share of the most frequent class among the clips",
    "p_value": "one-sided exact binomial test of top-1 against chance",
    "missing": "clips whose class is unknown are left out and counted in left_out",
}
"""What the numbers of this file mean, as it is written beside them."""

_CONFUSED = 30
_PAIRS = 4_000_000  # pairs of clip and joint class looked at at a time: 32 MiB


def classification_metrics(
    scores: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"], classes: Sequence[str]
) -> MetricsAndDetails:
    """Scores of clips with one label.

    Args:
      scores: of each class; probabilities, or whatever can be compared between clips (mAP and AUC do).
      truth: class numbers; negative where unknown.
      classes: names of the classes.

    Returns:
      Metrics: `top1`, `top5` and `class_mean_recall@5` (these two where there are more than 5 classes),
      `class_mean_accuracy`, `{macro, micro, weighted}_{precision, recall, f1}`, `mAP`, `auc`, `d_prime`,
      `chance`, `p_value`, `classes`, `absent_classes`, `clips` and `left_out`; only the last two where nothing
      is known.
      Details: `classes`; `confusion` (rows are the truth), or `confusion_left_out`, which says why it is not there;
      `most_confused`, `[truth, answer, clips]` of the most frequent mistakes; `per_class` (lists of `precision`,
      `recall`, `f1`, `support`, `average_precision`, `auc`); `pr_curves`; `absent`, names of classes.

    Raises:
      ValueError: shapes that do not fit, scores that are not numbers, or a truth past the classes.
    """
    scores, truth = checked(scores, len(classes)), _checked_truth(truth, len(scores), len(classes))
    known = truth >= 0
    count = {"clips": int(known.sum()), "left_out": int((~known).sum())}
    if not known.any():
        return count, {}
    scores, truth = scores[known], truth[known]
    confusion = confusion_matrix(scores.argmax(axis=1), truth, len(classes))
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
    """`top1`, `ties`, and where there are more than 5 classes `top5` and `class_mean_recall@5`.

    `ties` counts the clips of which several classes are the likeliest; the first of them is the answer.
    """
    rank = ranks(scores, truth)
    tied = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    metrics = {"top1": float((rank <= 1).mean()), "ties": int(tied.sum())}
    if scores.shape[1] > 5:
        metrics |= {"top5": float((rank <= 5).mean()), "class_mean_recall@5": _class_mean(rank <= 5, truth)}
    return metrics


def ranks(scores: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Place of the true class among all, from 1; equal scores stand in the order of the class numbers."""
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    before = np.arange(scores.shape[1])[None] < truth[:, None]
    return 1 + (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)


def confusion_matrix(answer: Int[np.ndarray, "n"], truth: Int[np.ndarray, "n"], classes: int) -> Int[np.ndarray, "C C"]:
    """How many clips of each class (row) were answered with each class (column)."""
    return np.bincount(truth * classes + answer, minlength=classes**2).reshape(classes, classes)


def action_metrics(
    probabilities: Mapping[str, Float[np.ndarray, "n _"]], truth: Mapping[str, Int[np.ndarray, "n"]]
) -> dict[str, float | int]:
    """Scores of several heads that must be right together: EPIC-Kitchens' action of verb and noun.

    An action is a combination of one class of each head, and its probability the product of theirs, so that
    the best action is the best class of every head (Damen et al. 2022, "Rescaling egocentric vision").

    Args:
      probabilities: of the classes of each head.
      truth: class numbers by head; negative where unknown.

    Returns:
      `top1` (every head right), `top5` (the true combination among the 5 most probable), `class_mean_recall@5`
      (of the combinations that occur, as anticipation is scored), `clips`, and those `left_out` because a class
      of any head is unknown.

    Raises:
      ValueError: as `classification_metrics`.
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
    right = np.all([log.argmax(axis=1) == label for log, label in zip(logs, labels, strict=True)], axis=0)
    joint = np.ravel_multi_index(labels, sizes)
    first_five = _joint_ranks(logs, joint) <= 5
    found = {"top1": float(right.mean()), "top5": float(first_five.mean())}
    return found | {"class_mean_recall@5": _class_mean(first_five, joint)} | count


def _joint_ranks(logs: Sequence[Float[np.ndarray, "n _"]], joint: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Place of the true combination among all of them, in blocks of clips that fit into memory."""
    combinations = int(np.prod([log.shape[1] for log in logs]))
    block = max(1, _PAIRS // combinations)
    places = []
    for first in range(0, len(joint), block):
        whole = logs[0][first : first + block]
        for log in logs[1:]:
            whole = (whole[:, :, None] + log[first : first + block, None, :]).reshape(len(whole), -1)
        places.append(ranks(whole, joint[first : first + block]))
    return np.concatenate(places)


def _class_mean(hit: np.ndarray, truth: Int[np.ndarray, "n"]) -> float:
    """Mean over the classes that occur of the share of their clips that are hit."""
    _, number, size = np.unique(truth, return_inverse=True, return_counts=True)
    return float((np.bincount(number, hit) / size).mean())


def _confusion_details(confusion: Int[np.ndarray, "C C"], classes: Sequence[str]) -> dict:
    """The matrix where it is small enough to write, and the most frequent mistakes."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSED]
    pairs = [(*divmod(int(place), len(classes)), int(wrong.flat[place])) for place in most]
    found: dict = {"most_confused": [[classes[row], classes[column], clips] for row, column, clips in pairs if clips]}
    if len(classes) > CONFUSION_CLASSES:
        said = f"the confusion matrix of {len(classes)} classes is left out; it is written up to {CONFUSION_CLASSES}"
        return found | {"confusion_left_out": said}
    return found | {"confusion": confusion.tolist()}


def _checked_truth(truth: Int[np.ndarray, "n"], clips: int, classes: int) -> Int[np.ndarray, "n"]:
    """Class numbers as int64."""
    truth = np.asarray(truth).astype(np.int64)
    if truth.shape != (clips,):
        raise ValueError(f"{clips} rows of scores beside a truth of shape {list(truth.shape)}")
    if truth.size and truth.max() >= classes:
        raise ValueError(f"the truth names class {truth.max()}, but there are scores of only {classes} classes")
    return truth
