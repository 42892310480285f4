"""Probes: simple classifiers on frozen features.

Both are deterministic. A clip with an unknown class takes no part; among the test clips it is counted in `left_out`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.metrics.chance import binomial_tail

PENALTIES: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
"""L2 penalties from which the linear probe selects."""

PROTOCOL: dict[str, str] = {
    "linear": "multinomial logistic regression on standardised features, L2 penalty of "
    f"{', '.join(f'{p:g}' for p in PENALTIES)} chosen by 4-fold cross-validation on the training clips",
    "knn": "cosine similarity, votes weighted by exp(similarity / 0.07)",
    "chance": "share of the most frequent class among the test clips",
    "p_value": "one-sided exact binomial test of the right answers against chance",
}
"""Meaning of the metrics of this file, as written beside them."""

_FOLDS = 4
_TEMPERATURE = 0.07


@dataclasses.dataclass(frozen=True)
class Probe:
    """Result of a probe.

    Attributes:
      metrics: Scores of `classification`, and the settings of the probe.
      answer: Predicted class of each test clip, also of those with an unknown class.
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
    """Return the accuracy of a multinomial logistic regression on frozen features.

    Args:
      train: Features of the training clips, `n`.
      test: Features of the test clips, `m`; every column is standardised by the training clips.
      train_class: Classes from 0; negative if unknown.
      test_class: Classes from 0; negative if unknown.
      penalties: L2 penalties to choose from, by cross-validation over the training clips; the largest among equals.

    Returns:
      The probe; its metrics include the `penalty`.

    Raises:
      ValueError: There are fewer than two classes among the training clips, there is nothing to test, or features are
        not finite.
    """
    train, train_class, test = _known(train, train_class, test, test_class)
    mean = train.mean(axis=0)
    deviation = train.std(axis=0)
    # A column that is constant in training carries no information. Its scale is 0, because a scale of one over its
    # deviation would magnify any difference in the test clips.
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
    """Return the accuracy of the vote of the nearest neighbours by cosine similarity.

    Each of the `neighbours` most similar training clips votes for its class with the weight `exp(similarity / 0.07)`
    (Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination", section 3.4). Equal
    votes go to the lower class index.

    Returns:
      The probe; its metrics include `neighbours`, which is at most the number of training clips.

    Raises:
      ValueError: As for `linear_probe`.
    """
    train, train_class, test = _known(train, train_class, test, test_class)
    train, test = _unit(train), _unit(test)
    neighbours = min(neighbours, len(train))
    answer = np.zeros(len(test), np.int64)
    for first in range(0, len(test), 256):
        similarity = test[first : first + 256] @ train.T
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]
        # Subtracting 1 scales all votes alike and keeps the largest weight at exp(0) = 1.
        weight = np.exp((np.take_along_axis(similarity, nearest, axis=1) - 1.0) / _TEMPERATURE)
        votes = np.zeros((len(similarity), int(train_class.max()) + 1))
        np.add.at(votes, (np.arange(len(similarity))[:, None], train_class[nearest]), weight)
        answer[first : first + 256] = votes.argmax(axis=1)
    return Probe(classification(answer, test_class) | {"neighbours": neighbours}, answer)


def classification(answer: Int[np.ndarray, "m"], truth: Int[np.ndarray, "m"]) -> dict[str, float | int]:
    """Return the scores of predictions against the truth.

    Returns:
      `accuracy`; `macro_accuracy`, the mean over the true classes of the share predicted right; `chance`, the share of
        the
      most frequent class; `p_value` of the accuracy against it; the number of `clips` scored, and of those `left_out`
      because their class is unknown (negative).
    """
    known = truth >= 0
    left_out = int((~known).sum())
    answer = answer[known]
    truth = truth[known]
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
    """Return the weights of a multinomial logistic regression; the last row is the bias.

    The loss is the mean cross entropy plus `penalty / 2` times the squared weights without the bias, minimised by
    full-batch L-BFGS. The problem is convex, so the result depends neither on a seed nor on `start`, which only saves
    `iterations`.
    """
    from scipy.optimize import minimize

    # Float32 products are twice as fast; the sums over clips and the search itself are in float64.
    inputs = _with_bias(np.asarray(features, np.float32))
    rows = np.arange(len(truth))
    shape = (inputs.shape[1], classes)
    start = np.zeros(shape) if start is None else start

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = inputs @ weights.astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        error = np.exp(logits)
        total = error.sum(axis=1)
        error /= total[:, None]
        # Softmax minus one-hot is the gradient of the cross entropy by the logits.
        error[rows, truth] -= 1.0
        decay = penalty * weights
        # The last row is the bias, which has no penalty.
        decay[-1] = 0.0
        entropy = (np.log(total) - logits[rows, truth]).mean(dtype=np.float64)
        gradient = (inputs.T @ error).astype(np.float64) / len(truth) + decay
        return entropy + 0.5 * float((decay * weights).sum()), gradient.ravel()

    options = {"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-5}
    return minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)


def _choose_penalty(features: np.ndarray, truth: np.ndarray, classes: int, penalties: Sequence[float]) -> float:
    """Return the penalty with the most right predictions on held-out folds; the largest among equals."""
    if len(penalties) == 1:
        return penalties[0]
    # Each class is distributed over the folds in turn, so that every fold has a share of every class: the clips of
    # classes [0, 0, 1, 0, 1] go to folds [0, 1, 0, 2, 1].
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
            # From the strongest penalty to the weakest, each fit starts from the weights of the previous one.
            weights = fit_logistic(features[~out], truth[~out], classes, penalty, weights, iterations=40)
            right[penalty] += int((np.argmax(_with_bias(features[out]) @ weights, axis=1) == truth[out]).sum())
    return max(right, key=right.__getitem__)


def _known(
    train: np.ndarray, train_class: np.ndarray, test: np.ndarray, test_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the training features and classes of clips with a known class, and the test features, in float64."""
    train, train_class = np.asarray(train, np.float64)[train_class >= 0], train_class[train_class >= 0]
    test = np.asarray(test, np.float64)
    if len(np.unique(train_class)) < 2:
        raise ValueError("a probe needs training clips of two classes or more; check the labels of the corpus")
    if not (test_class >= 0).any():
        raise ValueError("a probe needs test clips whose class is known; check the labels of the test split")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("some features for a probe are not finite; has the run diverged?")
    return train, train_class, test


def _with_bias(features: np.ndarray) -> np.ndarray:
    """Return features with a last column of ones."""
    return np.concatenate([features, np.ones((len(features), 1), features.dtype)], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
