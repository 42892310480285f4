"""Probes: what a simple classifier can read from frozen features.

Both are deterministic. A clip whose class is unknown takes no part; among the test clips it is
counted in `left_out`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.metrics.chance import binomial_tail

PENALTIES: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
"""L2 penalties from which the linear probe chooses."""

PROTOCOL: dict[str, str] = {
    "linear": "multinomial logistic regression on standardised features, L2 penalty of "
    f"{', '.join(f'{p:g}' for p in PENALTIES)} chosen by 4-fold cross-validation on the training clips",
    "knn": "cosine similarity, votes weighted by exp(similarity / 0.07)",
    "chance": "share of the most frequent class among the test clips",
    "p_value": "one-sided exact binomial test of the right answers against chance",
}
"""What the numbers of this file mean, as it is written beside them."""

_FOLDS = 4
_TEMPERATURE = 0.07


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a probe found.

    Attributes:
      metrics: the scores of `classification`, and what the probe was set to.
      answer: the class it gives to each test clip, those whose class is unknown included.
    """

    metrics: dict[str, float | int]
    answer: Int[np.ndarray, "m"]


def linear_probe(
    train: Float[np.ndarray, "n D"],
    train_class: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m D"],
    test_class: Int[np.ndarray, "m"],
    penalties: Sequence[float] = PENALTIES,
) -> Probe:
    """Accuracy of a multinomial logistic regression on frozen features.

    Args:
      train, test: features; every column is standardised by the training clips.
      train_class, test_class: classes from 0; negative where unknown.
      penalties: L2 penalties to choose from; the best in cross-validation over the training clips is
        taken, the largest among equals.

    Returns:
      The probe; its metrics tell the `penalty` too.

    Raises:
      ValueError: fewer than two classes among the training clips, nothing to test, or features that
        are not finite.
    """
    train, train_class, test = _known(train, train_class, test, test_class)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # A column that never varies tells nothing; its test values, if they differ, would only be noise.
    scale = np.where(deviation > 1e-8 * (1.0 + np.abs(mean)), 1.0 / np.maximum(deviation, 1e-30), 0.0)
    train, test = (train - mean) * scale, (test - mean) * scale
    classes = int(train_class.max()) + 1
    penalty = _choose_penalty(train, train_class, classes, penalties)
    weights = fit_logistic(train, train_class, classes, penalty)
    answer = np.argmax(_with_bias(test) @ weights, axis=1)
    return Probe(classification(answer, test_class) | {"penalty": penalty}, answer)


def knn_probe(
    train: Float[np.ndarray, "n D"],
    train_class: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m D"],
    test_class: Int[np.ndarray, "m"],
    neighbours: int = 10,
) -> Probe:
    """Accuracy of the nearest neighbours' vote by cosine similarity.

    Each of the `neighbours` most similar training clips votes for its class with the weight
    `exp(similarity / 0.07)` (Wu et al. 2018, "Unsupervised feature learning via non-parametric
    instance discrimination", section 3.4). Equal votes go to the lower class number.

    Returns:
      The probe; its metrics tell `neighbours` too, which is at most the training clips.

    Raises:
      ValueError: as `linear_probe`.
    """
    train, train_class, test = _known(train, train_class, test, test_class)
    train, test = _unit(train), _unit(test)
    neighbours = min(neighbours, len(train))
    answer = np.zeros(len(test), np.int64)
    for first in range(0, len(test), 256):
        similarity = test[first : first + 256] @ train.T
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]
        weight = np.exp((np.take_along_axis(similarity, nearest, axis=1) - 1.0) / _TEMPERATURE)
        votes = np.zeros((len(similarity), int(train_class.max()) + 1))
        np.add.at(votes, (np.arange(len(similarity))[:, None], train_class[nearest]), weight)
        answer[first : first + 256] = votes.argmax(axis=1)
    return Probe(classification(answer, test_class) | {"neighbours": neighbours}, answer)


def classification(answer: Int[np.ndarray, "m"], truth: Int[np.ndarray, "m"]) -> dict[str, float | int]:
    """Scores of answers against the truth.

    Returns:
      `accuracy`; `macro_accuracy`, the mean over the true classes of the share answered rightly;
      `chance`, the share of the most frequent class; `p_value` of the accuracy against it; the
      `clips` scored, and those `left_out` because their class is unknown (negative).
    """
    known = truth >= 0
    left_out, answer, truth = int((~known).sum()), answer[known], truth[known]
    right = answer == truth
    classes, counts = np.unique(truth, return_counts=True)
    chance = float(counts.max() / len(truth))
    return {
        "accuracy": float(right.mean()),
        "macro_accuracy": float(np.mean([right[truth == number].mean() for number in classes])),
        "chance": chance,
        "p_value": binomial_tail(int(right.sum()), len(truth), chance),
        "clips": len(truth),
        "left_out": left_out,
    }


def fit_logistic(
    features: Float[np.ndarray, "n D"],
    truth: Int[np.ndarray, "n"],
    classes: int,
    penalty: float,
    start: Float[np.ndarray, "D1 C"] | None = None,
    iterations: int = 300,
) -> Float[np.ndarray, "D1 C"]:
    """Weights (the last row is the bias) of the multinomial logistic regression.

    Minimises the mean cross-entropy plus `penalty / 2` times the squared weights, the bias free, by
    full-batch L-BFGS. The problem is convex, so the answer depends neither on a seed nor on `start`,
    which only saves `iterations`.
    """
    from scipy.optimize import minimize

    # Float32 products are twice as fast; the sums over clips and the search itself are in float64.
    inputs = _with_bias(np.asarray(features, np.float32))
    rows, shape = np.arange(len(truth)), (inputs.shape[1], classes)
    start = np.zeros(shape) if start is None else start

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = inputs @ weights.astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        error = np.exp(logits)
        total = error.sum(axis=1)
        error /= total[:, None]
        error[rows, truth] -= 1.0
        decay = penalty * weights
        decay[-1] = 0.0
        entropy = (np.log(total) - logits[rows, truth]).mean(dtype=np.float64)
        gradient = (inputs.T @ error).astype(np.float64) / len(truth) + decay
        return entropy + 0.5 * float((decay * weights).sum()), gradient.ravel()

    options = {"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-5}
    return minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)


def _choose_penalty(features: np.ndarray, truth: np.ndarray, classes: int, penalties: Sequence[float]) -> float:
    """The penalty with the most right answers on held-out folds; the largest among equals."""
    if len(penalties) == 1:
        return penalties[0]
    # Each class is dealt out over the folds in turn, so that every fold has a share of every class.
    fold = np.zeros(len(truth), np.int64)
    for number in range(classes):
        fold[truth == number] = np.arange((truth == number).sum()) % _FOLDS
    right = dict.fromkeys(sorted(penalties, reverse=True), 0)
    for held in range(_FOLDS):
        out = fold == held
        if not out.any() or out.all():
            continue
        weights = None
        for penalty in right:
            # From the strongest penalty down, each fit starts where the one before it ended.
            weights = fit_logistic(features[~out], truth[~out], classes, penalty, weights, iterations=40)
            right[penalty] += int((np.argmax(_with_bias(features[out]) @ weights, axis=1) == truth[out]).sum())
    return max(right, key=right.__getitem__)


def _known(
    train: np.ndarray, train_class: np.ndarray, test: np.ndarray, test_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training clips whose class is known, and test features, in float64."""
    train, train_class = np.asarray(train, np.float64)[train_class >= 0], train_class[train_class >= 0]
    test = np.asarray(test, np.float64)
    if len(np.unique(train_class)) < 2:
        raise ValueError("a probe needs training clips of two classes or more; check the labels of the corpus")
    if not (test_class >= 0).any():
        raise ValueError("a probe needs test clips whose class is known; check the labels of the test split")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("features for a probe hold values that are not finite; has the run diverged?")
    return train, train_class, test


def _with_bias(features: np.ndarray) -> np.ndarray:
    """Features with a last column of ones."""
    return np.concatenate([features, np.ones((len(features), 1), features.dtype)], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
