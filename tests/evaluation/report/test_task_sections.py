"""The page's sections about tasks, from the very dicts that the metrics return."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmvideo.evaluation.metrics.classification import action_metrics, classification_metrics
from mmvideo.evaluation.metrics.moments import moment_metrics
from mmvideo.evaluation.metrics.multilabel import multilabel_metrics
from mmvideo.evaluation.metrics.regression import regression_metrics
from mmvideo.evaluation.report.parts.confusion import MOST, confusion_picture, most_confused_classes
from mmvideo.evaluation.report.parts.metric_names import best, full_label, written
from mmvideo.evaluation.report.run_data import ClipGroup, ClipView, JudgedClip, ReportData, read_run
from mmvideo.evaluation.report.run_page import page, write_report
from mmvideo.evaluation.report.task_sections import kind, shown, split
from mmvideo.evaluation.runner import EvaluationResult, subset_name, write_result

MOVES = ["rises", "falls", "bounces", "turns left", "turns right", "stands", "<flies & lands>"]
SOUNDS = ["beep", "hiss", "knock", "chirp", "hum", "click", "whistle", "buzz", "bell", "drum", "never heard"]


def _scores(draw: np.random.Generator, truth: np.ndarray, classes: int, strength: float) -> np.ndarray:
    logits = draw.normal(size=(len(truth), classes)) + strength * np.eye(classes)[np.maximum(truth, 0)]
    logits += 0.6 * strength * np.eye(classes)[(np.maximum(truth, 0) + 1) % classes]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def _named(objective: str, metrics: dict) -> dict:
    return {f"{objective}/{name}": value for name, value in metrics.items()}


def _classification(strength: float) -> tuple[dict, dict]:
    draw = np.random.default_rng(1)
    moves, colours = draw.integers(0, len(MOVES), 240), draw.integers(0, 50, 240)
    moves[:5] = -1
    scores = {"move": _scores(draw, moves, len(MOVES), strength), "colour": _scores(draw, colours, 50, 2 * strength)}
    move, move_details = classification_metrics(scores["move"], moves, MOVES)
    colour, colour_details = classification_metrics(scores["colour"], colours, [f"colour {k}" for k in range(50)])
    targets = (draw.random((240, len(SOUNDS))) < np.linspace(0.4, 0.0, len(SOUNDS))).astype(float)
    heard = 1 / (1 + np.exp(-draw.normal(size=targets.shape) - strength * (2 * targets - 1)))
    sound, sound_details = multilabel_metrics(heard, targets, SOUNDS)
    action = action_metrics(scores, {"move": moves, "colour": colours})
    metrics = _named("move", move) | _named("colour", colour) | _named("action", action) | _named("sounds", sound)
    return metrics, {"move": move_details, "colour": colour_details, "sounds": sound_details}


def _moments() -> tuple[dict, dict]:
    draw = np.random.default_rng(2)
    truth, found = [], []
    for number in range(30):
        start, length = draw.integers(0, 50), draw.choice([4, 16, 48])
        clips = np.arange(start // 2, (start + length) // 2)
        windows = np.sort(draw.random((6, 2)) * 100, axis=1)
        windows[0] = start + draw.normal(), start + length + draw.normal()
        scored = np.column_stack([windows, [0.9, 0.5, 0.3, 0.2, 0.1, 0.1]])
        truth.append({
            "qid": number, "query": "a red circle bounces, then a beep", "duration": 100,
            "relevant_windows": [[start, start + length]], "relevant_clip_ids": clips,
            "saliency_scores": draw.integers(1, 5, (len(clips), 3)),
        })  # fmt: skip
        found.append({
            "qid": number, "pred_saliency_scores": draw.random(50),
            "pred_relevant_windows": [] if number == 1 else scored,
        })  # fmt: skip
    return moment_metrics(found, truth)


def _captions() -> tuple[dict, dict]:
    references = ["a red circle bounces", "the circle that is red goes up and down", "it bounces", "a fourth"]
    one = {"id": "clip-1", "prediction": "a <red> circle rises", "references": references}
    return {"bleu_4": 0.412, "cider_d": 1.234, "facts/colour+shape": 0.508, "clips": 60}, {
        "samples": [one, {**one, "id": "clip-2", "references": ["x"]}]
    }


def _result(metrics: dict, details: dict) -> EvaluationResult:
    return EvaluationResult(metrics, [], {"ties": "said <here>"}, "shapes", "test", 240, details)


@pytest.fixture(scope="module")
def results() -> dict[str, EvaluationResult]:
    draw = np.random.default_rng(3)
    truth = draw.uniform(-3, 3, 300)
    numbers, points = regression_metrics(truth + draw.normal(size=300), truth, sentiment=True)
    found = {
        "classification": _result(*_classification(2.0)),
        "classification.video": _result(*_classification(1.0)),
        "classification.audio": _result(*_classification(0.5)),
        "classification.video+audio": _result(*_classification(1.8)),
        "captioning": _result(*_captions()),
        "moments": _result(*_moments()),
        "regression": _result(_named("sentiment", numbers), {"sentiment": points}),
    }
    answered = {"id": "c", "question": "what colour?", "prediction": "red", "references": ["red"]}
    return found | {"question_answering": _result({"exact_match": 0.5}, {"samples": [answered]})}


@pytest.fixture(scope="module")
def data(results, tmp_path_factory) -> ReportData:
    """Written and read as a run writes and reads them."""
    folder = tmp_path_factory.mktemp("run")
    for name, result in results.items():
        write_result(folder, name, result, 200)
    frame = np.full((48, 64, 3), (40, 90, 160), np.uint8)
    frame[10:30, 20:40] = (230, 120, 50)
    good = [JudgedClip(ClipView(f"clip-{k}", "", None, frame), ["bounces 97 %"], 0.97, True) for k in range(4)]
    bad = [JudgedClip(ClipView("clip-9", "", None, frame), ["answer: <rises>", "truth: falls"], 0.01, False)]
    unclear = [JudgedClip(ClipView("clip-7"), ["a red circle"], 1.5)]
    groups = [ClipGroup("move, best", good, "p"), ClipGroup("move, worst", bad, "p"), ClipGroup("captions", unclear)]
    return read_run(folder, "tasks", examples=groups)


def test_every_task_has_its_section(data, parse):
    parsed = parse(page(data))
    assert parsed.sections == [
        "summary", "classification", "captioning", "question_answering", "moments", "regression", "modalities",
        "examples",
    ]  # fmt: skip
    assert parsed.links == [f"#{name}" for name in parsed.sections]
    words = " ".join(parsed.words)
    assert "top-1 %" in words and "class-mean recall@5 %" in words and "Acc-7 %" in words
    assert "never heard" in words
    assert "colour, shape %" in words and "50.8" in words, "facts stand in the open, not among more metrics"


def test_text_of_classes_and_captions_is_text(data):
    whole = page(data)
    for word in ("<flies", "<red>", "<rises>", "<here>"):
        assert word not in whole and word.replace("<", "&lt;").replace(">", "&gt;") in whole


def test_metrics_that_are_not_finite_are_dashes(results, tmp_path, parse):
    found = _result({"a/mAP": float("nan"), "a/d_prime": float("inf"), "a/clips": 3}, {})
    write_result(tmp_path, "classification", found, 1)
    parsed = parse(page(read_run(tmp_path)))
    assert "nan" not in " ".join(parsed.words) and "–" in parsed.words


def test_a_task_of_which_nothing_is_known_is_a_section_still(tmp_path, parse):
    empty, none = classification_metrics(np.zeros((2, 2)), np.full(2, -1), ["a", "b"])
    write_result(tmp_path, "classification", _result(_named("move", empty), {"move": none}), 1)
    numbers, none = regression_metrics(np.zeros(2), np.full(2, np.nan))
    write_result(tmp_path, "regression", _result(_named("mood", numbers), {"mood": none}), 1)
    moments, none = moment_metrics([], [])
    write_result(tmp_path, "moments", _result(moments, none), 1)
    assert parse(page(read_run(tmp_path))).sections == ["classification", "moments", "regression"]


def test_details_are_written_only_where_there_are_some():
    assert "details" not in _result({}, {}).content()
    assert _result({}, {"samples": [1]}).content()["details"] == {"samples": [1]}


def test_details_are_the_last_line_of_a_file_that_is_read_by_eye(results, tmp_path):
    result = results["classification"]
    lines = write_result(tmp_path, "classification", result, 7).read_text().splitlines()
    assert lines[-1] == "}" and lines[-2].startswith('  "details": {')
    assert lines[-3].startswith('  "predictions_sha256": "') and lines[-4] == '  "checkpoint_step": 7,'
    assert len(lines) < 200, "a matrix takes no line a number"
    written = json.loads("\n".join(lines))
    digests = {name for name in written if name.endswith("sha256")}
    assert {name: written[name] for name in written if name not in digests} == result.content() | {"checkpoint_step": 7}


def test_details_of_metrics_are_json(results):
    for result in results.values():
        text = json.dumps(result.content(), allow_nan=False)
        assert json.loads(text)["details"] == result.details


def test_the_diagonal_is_told_from_mistakes(parse):
    details = {"classes": ["a", "b"], "confusion": [[3, 1], [0, 2]]}
    drawn = confusion_picture(details)
    parse(drawn)
    assert drawn.count('class="right-cell"') == 2 and drawn.count('class="wrong-cell"') == 1
    assert drawn.count('class="no-cell"') == 1
    assert "a predicted as b: 1 of 4 clips, 25.0 %" in drawn


def test_classes_of_one_name_are_kept_apart():
    drawn = confusion_picture({"classes": ["a", "a"], "confusion": [[0, 1], [0, 2]]})
    assert drawn.count('class="wrong-cell"') == 1 and drawn.count('class="right-cell"') == 1


def test_of_many_classes_those_with_the_most_mistakes_are_shown(data):
    matrix = np.diag(np.full(60, 9))
    matrix[50, 3] = 5
    shown = most_confused_classes(matrix)
    assert len(shown) == MOST and {3, 50} <= set(shown.tolist()) and (np.diff(shown) > 0).all()
    assert "Shown are the 40 of 50 classes" in page(data)
    said = confusion_picture({"confusion_left_out": "too many <classes>"})
    assert "too many &lt;classes&gt;" in said


def test_partial_evaluations_stand_side_by_side():
    assert kind("classification.video+audio") == "classification" == kind("classification")
    assert kind("evaluation.v2") == "evaluation.v2", "only modalities are split off"
    assert kind(subset_name("moments", ("text",))) == "moments" and shown("moments.text") == "text"
    names = [
        "retrieval.video+text",
        "retrieval.text",
        "moments",
        "moments.video+audio",
        "moments.audio",
        "moments.video",
    ]
    whole, variants = split({name: {} for name in names})
    assert sorted(whole) == ["moments", "retrieval.video+text"]
    assert list(variants["moments"]) == ["all", "video", "audio", "video+audio"]
    assert list(variants["retrieval"]) == ["text", "video+text"]


def test_the_best_of_a_row():
    assert best("move/top1", [0.2, None, 0.5]) == 0.5
    assert best("x/mae", [0.2, 0.5]) == 0.2
    assert best("move/top1", [0.5, 0.5]) is None and best("clips", [1, 2]) is None and best("mAP", [None, 1]) is None


def test_names_and_values_as_papers_write_them():
    assert full_label("move/top1") == "move · top-1 %" and written("move/top1", 0.5) == "50.0"
    assert full_label("r1@0.5") == "R1@0.5 %" and written("r1@0.5", None) == "–"
    assert full_label("text_to_video/r@1") == "text → video · R@1 %"
    assert written("sentiment/mae", 0.61234) == "0.612" and written("x/p_value", 1e-9) == "&lt; 10⁻⁶"


@pytest.mark.slow(reason="starts a browser")
def test_a_browser_shows_it(data, tmp_path, browsed):
    assert browsed(write_report(tmp_path, data)) == "broken=0 flat=0 asked=0 wide=false"
