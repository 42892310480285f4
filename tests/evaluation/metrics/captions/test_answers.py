"""Exact match of answers."""

from __future__ import annotations

import pytest

from mmvideo.evaluation.metrics.captions.answers import answer_metrics, normalised


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The Dog.", "dog"),
        ("  a  cat,  an owl ", "cat owl"),
        ("anthem", "anthem"),
        ("5:30", "530"),
        ("the", ""),
        ("", ""),
    ],
)
def test_normalised(answer, plain):
    assert normalised(answer) == plain


def test_matches_overall_and_by_type():
    predicted = {"q1": "The red one.", "q2": "two", "q3": "yes ", "q4": "no", "q5": "x"}
    right = {"q1": ["red one", "red"], "q2": ["three"], "q3": ["yes"], "q4": [], "q6": ["y"]}
    kinds = {"q1": "colour", "q2": "number", "q4": "yes/no"}
    metrics, single = answer_metrics(predicted, right, kinds)
    assert metrics["exact_match"] == pytest.approx(2 / 3)
    assert metrics["exact_match_verbatim"] == pytest.approx(1 / 3)
    assert metrics["exact_match/colour"] == 1.0 and metrics["exact_match/number"] == 0.0
    assert metrics["clips/colour"] == 1 and "exact_match/yes/no" not in metrics
    assert (metrics["clips"], metrics["left_out"]) == (3, 3)
    assert single["q1"] == {"exact_match": 1.0, "exact_match_verbatim": 0.0}
    assert set(single) == {"q1", "q2", "q3"}


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="no question has both"):
        answer_metrics({"a": "x"}, {"b": ["x"]})
    with pytest.raises(ValueError, match="'a' are a string: give a list"):
        answer_metrics({"a": "x"}, {"a": "x"})
