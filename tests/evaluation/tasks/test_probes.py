"""Probes on features whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.evaluation.tasks.probes import classification, fit_logistic, knn_probe, linear_probe


def _blobs(seed: int, clips: int, classes: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 12)) * distance
    truth = draw.integers(0, classes, clips)
    return (centres[truth] + draw.normal(size=(clips, 12))).astype(np.float32), truth


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_separable_features_are_read(probe):
    found = probe(*_blobs(0, 200, 4, 6.0), *_blobs(1, 100, 4, 6.0))
    assert found.metrics["accuracy"] == found.metrics["macro_accuracy"] == 1.0
    assert found.metrics["p_value"] < 1e-20


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_random_features_give_chance(probe):
    found = probe(*_blobs(0, 400, 4, 0.0), *_blobs(1, 400, 4, 0.0))
    assert abs(found.metrics["accuracy"] - 0.25) < 0.08
    assert found.metrics["p_value"] > 1e-3


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_a_probe_gives_the_same_answer_twice(probe):
    train, test = _blobs(0, 120, 3, 1.0), _blobs(1, 60, 3, 1.0)
    first, second = probe(*train, *test), probe(*train, *test)
    np.testing.assert_array_equal(first.answer, second.answer)
    assert first.metrics == second.metrics


def test_only_a_linear_rule_is_linear():
    """Exclusive or of two signs: no line separates it, neighbours do."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(800, 2))
    features += 0.5 * np.sign(features)
    truth = (features[:, 0] * features[:, 1] > 0).astype(int)
    halves = features[:400], truth[:400], features[400:], truth[400:]
    assert linear_probe(*halves).metrics["accuracy"] < 0.65
    assert knn_probe(*halves).metrics["accuracy"] > 0.95


def test_scale_of_a_column_does_not_matter_to_the_linear_probe():
    train, test = _blobs(0, 150, 3, 1.0), _blobs(1, 80, 3, 1.0)
    scale = np.geomspace(1e-3, 1e3, 12).astype(np.float32)
    plain = linear_probe(*train, *test)
    scaled = linear_probe(train[0] * scale + 5.0, train[1], test[0] * scale + 5.0, test[1])
    assert scaled.metrics["accuracy"] == pytest.approx(plain.metrics["accuracy"], abs=0.03)


def test_logistic_fit_is_at_the_optimum():
    """The gradient vanishes: by finite differences no direction goes down."""
    features, truth = _blobs(0, 60, 3, 1.0)
    weights = fit_logistic(features, truth, 3, 0.1)

    def loss(w: np.ndarray) -> float:
        logits = np.concatenate([features, np.ones((60, 1))], axis=1) @ w
        picked = logits[np.arange(60), truth] - np.log(np.exp(logits).sum(axis=1))
        return -picked.mean() + 0.05 * (w[:-1] ** 2).sum()

    draw = np.random.default_rng(0)
    for _ in range(20):
        step = draw.normal(size=weights.shape)
        step *= 1e-2 / np.linalg.norm(step)
        assert loss(weights + step) > loss(weights) and loss(weights - step) > loss(weights)


def test_nearest_neighbour_matches_a_loop():
    (train, train_class), (test, test_class) = _blobs(0, 50, 3, 0.7), _blobs(1, 20, 3, 0.7)
    found = knn_probe(train, train_class, test, test_class, neighbours=5)
    for row, vector in enumerate(test.astype(float)):
        cosine = [float(vector @ t / np.linalg.norm(vector) / np.linalg.norm(t)) for t in train.astype(float)]
        votes = np.zeros(3)
        for near in sorted(range(50), key=lambda number: -cosine[number])[:5]:
            votes[train_class[near]] += np.exp(cosine[near] / 0.07)
        assert found.answer[row] == votes.argmax()


def test_scores_of_known_answers():
    metrics = classification(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, -1]))
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_accuracy"] == 0.75
    assert metrics["chance"] == 0.5
    assert metrics["clips"] == 4
    assert metrics["left_out"] == 1
    assert metrics["p_value"] == pytest.approx(5 / 16)
    unbalanced = classification(np.zeros(10, int), np.array([0] * 9 + [1]))
    assert unbalanced["accuracy"] == unbalanced["chance"] == 0.9
    assert unbalanced["macro_accuracy"] == 0.5


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_unknown_classes_take_no_part(probe):
    train, train_class = _blobs(0, 200, 3, 6.0)
    test, test_class = _blobs(1, 50, 3, 6.0)
    spoilt = np.concatenate([train, np.full((20, 12), 1e3, np.float32)])
    found = probe(
        spoilt, np.concatenate([train_class, np.full(20, -1)]), test, np.where(test_class == 2, -1, test_class)
    )
    assert found.metrics["accuracy"] == 1.0
    assert found.metrics["left_out"] == (test_class == 2).sum()
    assert (found.answer == test_class).all(), "clips whose class is unknown are answered all the same"


def test_what_cannot_be_probed_is_said():
    features, truth = _blobs(0, 20, 2, 1.0)
    with pytest.raises(ValueError, match="two classes"):
        linear_probe(features, np.zeros(20, int), features, truth)
    with pytest.raises(ValueError, match="whose class is known"):
        knn_probe(features, truth, features, np.full(20, -1))
    with pytest.raises(ValueError, match="not finite"):
        linear_probe(np.full_like(features, np.inf), truth, features, truth)
