"""Metrics of single labels, several labels and numbers: scikit-learn's values, and cases computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mmvideo.evaluation.metrics.classification import (
    CONFUSION_CLASSES,
    action_metrics,
    classification_metrics,
    ranks,
)
from mmvideo.evaluation.metrics.multilabel import multilabel_metrics
from mmvideo.evaluation.metrics.ranking import average_precision, d_prime, precision_recall, roc_auc
from mmvideo.evaluation.metrics.regression import regression_metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "classification.json").read_text())
NAMES = [f"class {number}" for number in range(8)]


def _same(found: dict, expected: dict) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12, err_msg=name)


def _same_classes(found: dict, expected: dict) -> None:
    """The details are rounded to 6 digits."""
    for name, values in expected.items():
        assert [value is None for value in found[name]] == [value is None for value in values], name
        pairs = [(a, b) for a, b in zip(found[name], values, strict=True) if b is not None]
        np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=0, atol=5.1e-7, err_msg=name)


def test_single_labels_as_scikit_learn():
    case = GOLDEN["single"]
    metrics, details = classification_metrics(np.array(case["scores"]), np.array(case["truth"]), NAMES)
    _same(metrics, case["metrics"])
    _same_classes(details["per_class"], case["per_class"])
    assert details["confusion"] == case["confusion"]
    assert details["absent"] == ["class 7"] and metrics["absent_classes"] == 1
    assert metrics["micro_f1"] == pytest.approx(metrics["top1"], abs=1e-15)
    assert json.loads(json.dumps(details)) == details, "plain values only"


@pytest.mark.parametrize("holes", [False, True])
def test_several_labels_as_scikit_learn(holes):
    case = GOLDEN["several"] | (GOLDEN["holes"] if holes else {})
    targets = np.array(case["targets"], float)
    metrics, details = multilabel_metrics(np.array(case["probabilities"]), targets, NAMES)
    _same(metrics, case["metrics"])
    _same_classes(details["per_class"], case["per_class"])
    assert details["absent"] == ["class 5"]


def test_numbers_as_scikit_learn():
    case = GOLDEN["numbers"]
    predicted, truth = np.array(case["predicted"]), np.array(case["truth"])
    metrics, details = regression_metrics(predicted, truth, sentiment=True)
    _same(metrics, case["metrics"])
    assert details["truth"] == pytest.approx(truth.tolist(), abs=1e-4) and details["shown"] == len(truth)
    assert metrics["acc2_nonneg"] != metrics["acc2_posneg"], "the golden case must tell the conventions apart"
    assert metrics["f1_posneg"] != metrics["f1_posneg_by_answers"]


def test_unknown_numbers_take_no_part():
    truth = np.array([1.0, np.nan, 3.0])
    metrics, _ = regression_metrics(np.array([2.0, 99.0, 3.0]), truth)
    assert metrics["mae"] == 0.5 and metrics["clips"] == 2 and metrics["left_out"] == 1
    assert "acc7" not in metrics
    assert regression_metrics(truth[:1], truth[1:2]) == ({"clips": 0, "left_out": 1}, {})
    with pytest.raises(ValueError, match="not all finite"):
        regression_metrics(truth, np.ones(3))


def test_a_constant_answer_has_no_correlation():
    assert math.isnan(regression_metrics(np.zeros(3), np.arange(3.0))[0]["pearson"])


def test_equal_scores_stand_in_the_order_of_the_classes():
    scores = np.array([[0.5, 0.5, 0.5], [0.1, 0.7, 0.7], [0.2, 0.1, 0.0]])
    assert ranks(scores, np.array([2, 1, 0])).tolist() == [3, 1, 1]
    metrics, details = classification_metrics(scores, np.array([2, 1, 0]), ["a", "b", "c"])
    assert metrics["top1"] == pytest.approx(2 / 3) and details["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert details["most_confused"] == [["c", "a", 1]]
    assert "top5" not in metrics, "5 of 3 classes would always be right"


def test_nothing_known_is_counted_not_scored():
    none = np.full(4, -1)
    assert classification_metrics(np.zeros((4, 2)), none, ["a", "b"]) == ({"clips": 0, "left_out": 4}, {})
    assert multilabel_metrics(np.zeros((2, 2)), np.full((2, 2), np.nan), ["a", "b"]) == (
        {"clips": 0, "left_out": 2},
        {},
    )
    assert action_metrics({"verb": np.ones((4, 2))}, {"verb": none}) == {"clips": 0, "left_out": 4}


def test_a_large_confusion_matrix_is_left_out_and_said():
    classes = CONFUSION_CLASSES + 1
    draw = np.random.default_rng(0)
    scores, truth = draw.random((50, classes)), draw.integers(0, classes, 50)
    _, details = classification_metrics(scores, truth, [str(number) for number in range(classes)])
    assert "confusion" not in details and "401 classes" in details["confusion_left_out"]
    assert details["most_confused"] and len(details["pr_curves"]) == 9
    assert [curve["rank"] for curve in details["pr_curves"].values()][:3] == [1, 2, 3]


@pytest.mark.parametrize(
    ("scores", "truth", "said"),
    [
        (np.zeros((2, 3)), np.zeros(2, int), "one column to each of 2 classes"),
        (np.full((2, 2), np.nan), np.zeros(2, int), "scores hold NaN"),
        (np.zeros((2, 2)), np.array([0, 2]), "names class 2"),
    ],
)
def test_wrong_input_is_said(scores, truth, said):
    with pytest.raises(ValueError, match=said):
        classification_metrics(scores, truth, ["a", "b"])


def test_targets_are_zero_or_one():
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        multilabel_metrics(np.zeros((1, 2)), np.array([[0.0, 2.0]]), ["a", "b"])


def test_an_action_is_right_when_every_head_is():
    draw = np.random.default_rng(2)
    verbs, nouns = draw.dirichlet(np.ones(4), 40), draw.dirichlet(np.ones(6), 40)
    truth = {"verb": draw.integers(0, 4, 40), "noun": draw.integers(0, 6, 40)}
    truth["noun"][3] = -1
    found = action_metrics({"verb": verbs, "noun": nouns}, truth)
    known = np.flatnonzero(truth["noun"] >= 0)
    both = [verbs[k].argmax() == truth["verb"][k] and nouns[k].argmax() == truth["noun"][k] for k in known]
    five, by_action = [], {}
    for k in known:
        pairs = sorted(((verbs[k, v] * nouns[k, n], v, n) for v in range(4) for n in range(6)), reverse=True)
        action = (truth["verb"][k], truth["noun"][k])
        five.append(action in [(v, n) for _, v, n in pairs[:5]])
        by_action.setdefault(action, []).append(five[-1])
    assert found == {
        "top1": np.mean(both), "top5": np.mean(five), "clips": 39, "left_out": 1,
        "class_mean_recall@5": pytest.approx(np.mean([np.mean(hits) for hits in by_action.values()])),
    }  # fmt: skip


def test_blocks_of_clips_change_nothing(monkeypatch):
    draw = np.random.default_rng(3)
    heads = {"verb": draw.random((30, 3)), "noun": draw.random((30, 5))}
    truth = {"verb": draw.integers(0, 3, 30), "noun": draw.integers(0, 5, 30)}
    whole = action_metrics(heads, truth)
    monkeypatch.setattr("mmvideo.evaluation.metrics.classification._PAIRS", 40)
    assert action_metrics(heads, truth) == whole


def test_average_precision_by_hand():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0])
    assert average_precision(scores, positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3, abs=1e-15)
    assert average_precision(np.zeros(4), positive) == 0.5, "all tied: the share of positives"
    assert roc_auc(scores, positive) == 0.75 and roc_auc(np.zeros(4), positive) == 0.5
    assert math.isnan(average_precision(scores, np.zeros(4))) and math.isnan(roc_auc(scores, np.ones(4)))
    assert average_precision(np.array([-np.inf, -np.inf]), np.array([1, 0])) == 0.5, "infinities tie too"


def test_d_prime_is_of_the_mean_auc():
    assert d_prime(0.5) == 0.0
    assert d_prime(0.9725) < 2.732 < d_prime(0.9735), "PANNs' CNN14 is printed with an AUC of 0.973 and a d' of 2.732"


def test_a_long_curve_is_thinned_to_points_of_itself():
    draw = np.random.default_rng(4)
    positive = draw.random(5000) < 0.2
    scores = draw.random(5000) + 0.5 * positive
    recall, precision = precision_recall(scores, positive, most=5000)
    few_recall, few_precision = precision_recall(scores, positive)
    assert len(few_recall) <= 200 < len(recall)
    assert set(zip(few_recall, few_precision, strict=True)) <= set(zip(recall, precision, strict=True))
    assert few_recall[-1] == 1.0 and np.diff(few_recall).max() < 0.011


def test_ties_for_the_first_place_are_counted():
    scores = np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.0, 0.5, 0.5], [0.3, 0.3, 0.4]])
    metrics, _ = classification_metrics(scores, np.array([0, 1, 2, -1]), ["a", "b", "c"])
    assert (metrics["ties"], metrics["clips"], metrics["left_out"]) == (2, 3, 1)
    assert metrics["top1"] == 2 / 3
