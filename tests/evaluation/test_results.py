"""Results count as measured only if every byte of their files is as written."""

from __future__ import annotations

import json

import pytest

from mmvideo.evaluation.results import EvaluationResult, measured, read_predictions, read_result, write_result
from mmvideo.records.sealed import DamagedRecord

RESULT = EvaluationResult(
    {"r@1": 0.25, "chance": float("nan")},
    [{"id": "a\u2028b", "truth": "x", "scores": {"x": 0.5}}, {"id": "\udc80", "truth": "y", "scores": {}}],
    {"views": 3},
    "shapes",
    "test",
    2,
    {"confusion": [[1, 2], [3, 4]]},
)


def test_what_was_written_comes_back(tmp_path):
    path = write_result(tmp_path, "retrieval", RESULT, 7)
    assert read_result(path)["metrics"] == {"r@1": 0.25, "chance": None}
    assert read_predictions(path) == RESULT.predictions
    assert measured(tmp_path, "retrieval", 7) == {"r@1": 0.25, "chance": None}
    assert measured(tmp_path, "retrieval", 8) is measured(tmp_path, "other", 7) is None


def test_no_flipped_bit_is_taken_for_measured(tmp_path, capsys):
    path = write_result(tmp_path, "retrieval", RESULT, 7)
    for file in (path, path.with_name("retrieval.predictions.jsonl")):
        sound = file.read_bytes()
        for place in range(len(sound)):
            broken = bytearray(sound)
            broken[place] ^= 1 << place % 8
            file.write_bytes(broken)
            assert measured(tmp_path, "retrieval", 7) is None, (file.name, place)
            with pytest.raises(DamagedRecord, match="mmvideo eval"):
                read_predictions(path)
        file.write_bytes(sound)
    assert "is measured again" in capsys.readouterr().err
    assert measured(tmp_path, "retrieval", 7) is not None


def test_a_file_of_before_there_were_digests_is_shown_and_measured_again(tmp_path):
    path = tmp_path / "evals" / "retrieval.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**RESULT.content(), "checkpoint_step": 7}).replace("NaN", "null"))
    assert read_result(path)["metrics"]["r@1"] == 0.25
    assert read_predictions(path) == []
    assert measured(tmp_path, "retrieval", 7) is None
