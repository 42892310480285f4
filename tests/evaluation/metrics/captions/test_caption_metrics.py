"""All caption metrics at once, and diversity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmvideo.evaluation.metrics.captions.caption_diversity import caption_diversity
from mmvideo.evaluation.metrics.captions.caption_metrics import caption_metrics
from mmvideo.evaluation.metrics.captions.java_scorers import METEOR_VARIABLE, SPICE_VARIABLE

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "caption_scores.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _no_jars(monkeypatch):
    monkeypatch.delenv(METEOR_VARIABLE, raising=False)
    monkeypatch.delenv(SPICE_VARIABLE, raising=False)


def test_scores_come_from_text_to_the_reference_numbers():
    golden = GOLDEN["many references"]
    names = [f"clip{n}" for n in range(len(golden["predicted"]))]
    predicted = dict(zip(names, golden["predicted"], strict=True))
    references = dict(zip(reversed(names), reversed(golden["references"]), strict=True))
    metrics, clips = caption_metrics(predicted, references, training=["A man rides a horse!"])
    for of, (whole, *each) in golden["scores"].items():
        if of == "meteor":
            assert of not in metrics
            continue
        assert metrics[of] == pytest.approx(whole, abs=1e-6)
        assert [clips[name][of] for name in names] == pytest.approx(each, abs=1e-6)
    assert metrics["clips"] == len(names) and metrics["left_out"] == 0
    assert metrics["references"] == sum(map(len, golden["references"]))
    assert clips["clip3"]["length"] == 0


def test_clips_without_captions_take_no_part_and_are_counted():
    full, _ = caption_metrics({"a": "a dog", "b": "a cat"}, {"a": ["a dog runs"], "b": ["the cat"]})
    less, clips = caption_metrics(
        {"a": "a dog", "b": "a cat", "c": "a bird", "d": "x"},
        {"a": ["a dog runs"], "b": ["the cat"], "c": [], "e": ["y"]},
    )
    assert less.pop("left_out") == 3 and full.pop("left_out") == 0
    assert less == full
    assert set(clips) == {"a", "b"}


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="no clip has both"):
        caption_metrics({"a": "a dog"}, {"b": ["a dog"]})
    with pytest.raises(ValueError, match="'a' are a string: give a list"):
        caption_metrics({"a": "a dog"}, {"a": "a dog"})
    with pytest.raises(ValueError, match="no jar at nowhere.jar: set MMVIDEO_METEOR_JAR"):
        caption_metrics({"a": "a dog"}, {"a": ["a dog"]}, meteor_jar="nowhere.jar")


def test_diversity_by_hand():
    captions = [["a", "dog"], ["a", "dog"], ["a", "cat", "runs"], []]
    metrics = caption_diversity(captions, training=["A dog.", "a bird"])
    assert metrics["length_mean"] == 7 / 4
    assert (metrics["length_min"], metrics["length_max"]) == (0, 3)
    assert metrics["empty"] == 0.25
    assert metrics["vocabulary"] == 4
    assert metrics["distinct_1"] == 4 / 7
    assert metrics["distinct_2"] == 3 / 4
    assert metrics["unique"] == 0.5
    assert metrics["novel"] == 0.5
    assert "novel" not in caption_diversity(captions)


def test_diversity_of_nothing():
    assert caption_diversity([[]])["distinct_2"] == 0.0
    with pytest.raises(ValueError, match="at least one clip"):
        caption_diversity([])


def test_exact_match_is_that_of_words():
    metrics, clips = caption_metrics(
        {"a": "A red circle.", "b": "a red circle", "c": ""},
        {"a": ["a blue one", "a red circle"], "b": ["red circle"], "c": ["x"]},
    )
    assert metrics["exact_match"] == 1 / 3 and next(iter(metrics)) == "exact_match"
    assert [clips[name]["exact_match"] for name in "abc"] == [1, 0, 0]
