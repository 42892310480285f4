"""Moments and highlights: the values of QVHighlights' published evaluator, and cases worked out by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from mmvideo.evaluation.metrics.moments import (
    HIGHLIGHTS,
    THRESHOLDS,
    detection_ap,
    highlight_ap,
    interval_iou,
    moment_metrics,
    saliency,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "moments.json").read_text())
ROUNDED = 0.005 + 1e-9  # the evaluator rounds percents to hundredths


@pytest.fixture
def golden() -> tuple[list[dict], list[dict]]:
    return copy.deepcopy(GOLDEN["predictions"]), copy.deepcopy(GOLDEN["truth"])


def test_as_the_published_evaluator(golden):
    metrics, details = moment_metrics(*golden)
    theirs = GOLDEN["metrics"]
    for prefix, name in (("", "full"), ("short/", "short"), ("middle/", "middle"), ("long/", "long")):
        ap, recall = theirs[name]["MR-mAP"], theirs[name]["MR-R1"]
        for own, value in (("mAP", ap["average"]), ("mAP@0.5", ap["0.5"]), ("mAP@0.75", ap["0.75"])):
            assert 100 * metrics[f"{prefix}{own}"] == pytest.approx(value, abs=ROUNDED), f"{prefix}{own}"
        for bar in ("0.5", "0.7"):
            assert 100 * metrics[f"{prefix}r1@{bar}"] == pytest.approx(recall[bar], abs=ROUNDED), f"{prefix}{bar}"
    for own, name in (("fair", "Fair"), ("good", "Good"), ("very_good", "VeryGood")):
        highlight = theirs[f"HL-min-{name}"]
        assert 100 * metrics[f"highlight/{own}/mAP"] == pytest.approx(highlight["HL-mAP"], abs=ROUNDED)
        assert 100 * metrics[f"highlight/{own}/hit1"] == pytest.approx(highlight["HL-Hit1"], abs=ROUNDED)
    assert metrics["queries"] == 40 and metrics["left_out"] == metrics["unanswered"] == 0
    assert json.loads(json.dumps(details)) == details and len(details["samples"]) == 8


def test_single_queries_as_the_published_evaluator(golden):
    for found, true, theirs in zip(*golden, GOLDEN["single"], strict=True):
        windows = np.array(found["pred_relevant_windows"])[:10]
        ap = detection_ap(windows, np.array(true["relevant_windows"], float), THRESHOLDS)
        np.testing.assert_allclose(ap, theirs["detection_ap"], rtol=0, atol=1e-12)
        whole = saliency(true)
        answer = np.zeros(len(whole))
        given = found["pred_saliency_scores"][: len(whole)]
        answer[: len(given)] = given
        own = [[highlight_ap(answer, column >= least) for column in whole.T] for least in HIGHLIGHTS.values()]
        np.testing.assert_allclose(own, theirs["highlight_ap"], rtol=0, atol=1e-12)


def test_overlap_of_stretches():
    a, b = np.array([[0.0, 10.0], [5.0, 5.0]]), np.array([[5.0, 15.0], [20.0, 30.0], [5.0, 5.0]])
    np.testing.assert_allclose(interval_iou(a, b), [[1 / 3, 0, 0], [0, 0, 0]])


def test_ap_of_a_query_by_hand():
    truth = np.array([[0.0, 10.0], [20.0, 30.0]])
    windows = np.array([[0, 10, 0.9], [0, 10, 0.8], [20, 30, 0.7]])  # found, found again, found
    assert detection_ap(windows, truth, np.array([0.5]))[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert detection_ap(windows[:1], truth, np.array([0.5]))[0] == 0.5
    assert detection_ap(np.zeros((0, 3)), truth, np.array([0.5]))[0] == 0.0


def test_a_perfect_answer_is_perfect(golden):
    predictions, truth = golden
    for found, true in zip(predictions, truth, strict=True):
        found["pred_relevant_windows"] = [[*window, 1.0] for window in true["relevant_windows"]]
    metrics, _ = moment_metrics(predictions, truth)
    for name in ("mAP", "mIoU", "r1@0.3", "r1@0.7", "mAP@0.75"):
        assert metrics[name] == 1.0
    assert metrics["short/mAP"] < 1.0, "windows of another length are false alarms, as in the published code"


def test_a_query_without_an_answer_scores_zero_and_is_counted(golden):
    predictions, truth = golden
    before, _ = moment_metrics(predictions, truth)
    lost = moment_metrics(predictions[:1], truth[:1])[0]["mIoU"]
    predictions[0]["pred_relevant_windows"] = []
    after, details = moment_metrics(predictions, truth)
    assert after["unanswered"] == 1 and after["queries"] == 40
    assert after["mIoU"] == pytest.approx(before["mIoU"] - lost / 40)
    assert len(details["samples"]) == 8


def test_a_query_without_a_moment_is_left_out(golden):
    predictions, truth = golden
    truth[0]["relevant_windows"] = []
    metrics, _ = moment_metrics(predictions, truth)
    assert metrics["queries"] == 39 and metrics["left_out"] == 1
    assert metrics == moment_metrics(predictions[1:], truth[1:])[0] | {"left_out": 1}
    for row in truth:
        row["relevant_windows"] = []
    assert moment_metrics(predictions, truth) == ({"queries": 0, "left_out": 40, "unanswered": 0}, {})


def test_without_saliencies_there_are_no_highlights(golden):
    predictions, truth = golden
    del predictions[3]["pred_saliency_scores"]
    assert not [name for name in moment_metrics(predictions, truth)[0] if name.startswith("highlight")]


def test_wrong_files_are_said(golden):
    predictions, truth = golden
    with pytest.raises(ValueError, match="1 queries have a prediction or a truth but not both: 0"):
        moment_metrics(predictions[1:], truth)
    with pytest.raises(ValueError, match="occurs twice"):
        moment_metrics([*predictions, predictions[0]], truth)
    predictions[1]["pred_relevant_windows"] = [[0.0, 3.0]]
    with pytest.raises(ValueError, match="query 1 are not all"):
        moment_metrics(predictions, truth)
    predictions[1]["pred_relevant_windows"] = [[0.0, 3.0, 1.0]]
    truth[2]["relevant_windows"] = [[4, 4]]
    with pytest.raises(ValueError, match="true windows of query 2"):
        moment_metrics(predictions, truth)
