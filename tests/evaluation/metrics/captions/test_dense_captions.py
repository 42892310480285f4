"""SODA and the ActivityNet Captions metrics against the published programs."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mmvideo.evaluation.metrics.captions.dense_captions import (
    THRESHOLDS,
    Event,
    dense_caption_metrics,
    overlaps,
)
from mmvideo.evaluation.metrics.captions.java_scorers import METEOR_VARIABLE, Meteor, jar
from mmvideo.evaluation.metrics.captions.soda import best_ordered_matching, soda, soda_metrics

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dense_captions.json").read_text(encoding="utf-8"))
needs_meteor = pytest.mark.skipif(
    not os.environ.get(METEOR_VARIABLE), reason=f"{METEOR_VARIABLE} names no meteor-1.5.jar"
)
PREDICTED = {
    name: [Event(*event["timestamp"], event["sentence"]) for event in events]
    for name, events in GOLDEN["predicted"].items()
}
ANNOTATIONS = {
    name: [
        [Event(*at, text) for at, text in zip(by[name]["timestamps"], by[name]["sentences"], strict=True)]
        for by in GOLDEN["annotators"]
        if name in by
    ]
    for name in PREDICTED
}
OURS = {
    "Bleu_1": "dense_bleu_1", "Bleu_2": "dense_bleu_2", "Bleu_3": "dense_bleu_3", "Bleu_4": "dense_bleu_4",
    "ROUGE_L": "dense_rouge_l", "CIDEr": "dense_cider_d", "METEOR": "dense_meteor",
    "Recall": "event_recall", "Precision": "event_precision",
}  # fmt: skip


def test_soda_c_equals_the_published_program_given_its_meteor():
    """The scores of the pairs come from the golden file, so that only the matching is ours."""
    table = {(hypothesis, reference): value for hypothesis, reference, value in GOLDEN["meteor"]}

    def meteor(captions, references):
        return np.array([table[" ".join(a), " ".join(b)] for a, b in zip(captions, references, strict=True)])

    found = [soda(PREDICTED[name], ANNOTATIONS[name], meteor) for name in PREDICTED]
    np.testing.assert_allclose(np.mean(found, axis=0), GOLDEN["scores"]["soda_c"], rtol=0, atol=1e-9)


def _assert_dense(metrics, names):
    for theirs in names:
        found = [metrics[f"{OURS[theirs]}@{threshold:g}"] for threshold in THRESHOLDS]
        np.testing.assert_allclose(found, GOLDEN["scores"][theirs], rtol=0, atol=1e-6, err_msg=theirs)
        np.testing.assert_allclose(metrics[OURS[theirs]], np.mean(found), rtol=1e-12)


def test_dense_metrics_equal_the_published_program():
    metrics, videos = dense_caption_metrics(PREDICTED, ANNOTATIONS)
    _assert_dense(metrics, OURS.keys() - {"METEOR"})
    assert "dense_meteor" not in metrics
    precision, recall = metrics["event_precision"], metrics["event_recall"]
    assert metrics["event_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert metrics["clips"] == len(videos) == len(PREDICTED)
    assert np.mean([video["dense_rouge_l"] for video in videos.values()]) == pytest.approx(metrics["dense_rouge_l"])


@needs_meteor
@pytest.mark.slow(reason="starts Java")
def test_with_the_jar_meteor_and_soda_c_equal_the_published_programs():
    with Meteor(jar(None, METEOR_VARIABLE)) as meteor:
        metrics, _ = dense_caption_metrics(PREDICTED, ANNOTATIONS, meteor)
        _assert_dense(metrics, ["METEOR"])
        metrics, _ = soda_metrics(PREDICTED, ANNOTATIONS, meteor)
    found = [metrics["soda_c_precision"], metrics["soda_c_recall"], metrics["soda_c"]]
    np.testing.assert_allclose(found, GOLDEN["scores"]["soda_c"], rtol=0, atol=1e-6)


def test_soda_without_meteor_never_bears_its_name():
    metrics, videos = soda_metrics(PREDICTED, ANNOTATIONS)
    assert not [name for name in metrics if name.startswith("soda_c")]
    assert 0 < metrics["soda_rouge_l"] < 1
    assert set(videos) == set(PREDICTED)


def test_perfect_events_score_one():
    events = [Event(0.0, 5.0, "a dog runs"), Event(4.0, 9.0, "a cat sleeps")]
    metrics, _ = soda_metrics({"v": events[::-1]}, {"v": [events]})
    assert metrics["soda_rouge_l"] == pytest.approx(1.0, abs=1e-6)
    found, _ = dense_caption_metrics({"v": events}, {"v": [events]})
    assert found["dense_bleu_1"] == pytest.approx(1.0, abs=1e-6)
    assert found["event_f1"] == 1.0


def test_silence_scores_nothing_and_absence_is_counted():
    events = [Event(0.0, 5.0, "a dog runs")]
    truth = {"said": [events], "silent": [events], "absent": [events]}
    predicted = {"said": events, "silent": []}
    for of, score in ((soda_metrics, "soda_rouge_l"), (dense_caption_metrics, "dense_rouge_l")):
        metrics, videos = of(predicted, truth)
        assert metrics[score] == pytest.approx(0.5, abs=1e-6)
        assert videos["silent"][score] == 0.0
        assert (metrics["clips"], metrics["left_out"]) == (2, 1)
        with pytest.raises(ValueError, match="no video has both"):
            of({"x": events}, truth)


def test_matching_equals_brute_force():
    draw = np.random.default_rng(1)
    for _ in range(60):
        rows, columns = draw.integers(1, 5, 2)
        gain = draw.random((rows, columns)) * (draw.random((rows, columns)) < 0.7)
        best = max(
            sum(gain[r, c] for r, c in zip(chosen, kept, strict=True))
            for size in range(min(rows, columns) + 1)
            for chosen in itertools.combinations(range(rows), size)
            for kept in itertools.combinations(range(columns), size)
        )
        assert best_ordered_matching(gain) == pytest.approx(best)


def test_overlap_by_hand():
    true, predicted = [Event(0, 10, ""), Event(20, 30, "")], [Event(5, 15, ""), Event(20, 30, ""), Event(10, 20, "")]
    np.testing.assert_allclose(overlaps(true, predicted), [[1 / 3, 0, 0], [0, 1, 0]], atol=1e-8)
    assert overlaps(true, []).shape == (2, 0)
