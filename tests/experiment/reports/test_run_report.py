"""The report's files of lines: text in them may hold every separator that Unicode knows."""

from __future__ import annotations

import json

from mmvideo.evaluation.runner import EvaluationResult, write_result
from mmvideo.experiment.reports.examples import _predictions
from mmvideo.experiment.reports.run_report import _skipped, _time

CAPTION = "a dog\u2028barks\u0085twice\u2029"


def test_captions_with_line_separators_come_back(tmp_path):
    rows = [{"id": f"clip {n}", "caption": CAPTION, "truth": [CAPTION], "scores": {}} for n in range(3)]
    write_result(tmp_path, "captioning", EvaluationResult({}, rows, {}, "eval", "test", 3), 2)
    assert _predictions(tmp_path, "captioning") == rows
    assert _predictions(tmp_path, "classification") == []


def test_skipped_clips_and_metrics_with_line_separators_come_back(tmp_path):
    assert _skipped(tmp_path) == [] and _time(tmp_path) == "unknown"
    lines = [{"id": CAPTION, "reason": f"{CAPTION}.mp4 is damaged"}, {"id": "two", "reason": "it is no video"}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (tmp_path / "skipped.jsonl").write_text(text, encoding="utf-8")
    assert _skipped(tmp_path) == [(line["id"], line["reason"]) for line in lines]
    row = json.dumps({"step": 1, "seconds": 120.0, "note": CAPTION}, ensure_ascii=False)
    (tmp_path / "metrics.jsonl").write_text(f"{row}\n", encoding="utf-8")
    assert _time(tmp_path) == "2.0 minutes"
