"""What the screen shows of an evaluation: counts beside every measure, and what can't be answered."""

from __future__ import annotations

import json

from mmvideo.experiment.reports.summary import summary_lines


def written(workdir, name, metrics, **protocol):
    (workdir / "evals").mkdir(exist_ok=True)
    rest = {"dataset": "shapes", "split": "test", "clips": 8, "details": {}, "checkpoint_step": 4}
    found = {"metrics": metrics, "protocol": protocol} | rest
    (workdir / "evals" / f"{name}.json").write_text(json.dumps(found))


def test_counts_stand_beside_accuracies(tmp_path):
    written(tmp_path, "classification", {"kind/top1": 1.0, "kind/clips": 4, "kind/left_out": 4, "kind/ties": 1})
    head, row = summary_lines(tmp_path)
    assert head.split() == ["classification", "top-1", "n", "left", "out", "ties"]
    assert row.split() == ["kind", "1.000", "4", "4", "1"]


def test_counts_stand_beside_recalls_equal_captions_as_one_too(tmp_path):
    metrics = {"r@1": 0.0, "r@5": 0.0, "r@10": 0.0, "median_rank": 50.0, "chance": 0.002, "clips": 500, "left_out": 3}
    more = {"r@1": 0.66, "r@5": 0.9, "r@10": 1.0, "median_rank": 1.0, "chance": 0.1, "clips": 500, "ties": 2}
    metrics |= {"ties": 500} | {f"distinct/{name}": value for name, value in more.items()}
    written(tmp_path, "retrieval", {f"video_to_text/{name}": value for name, value in metrics.items()})
    head, plain, distinct = summary_lines(tmp_path)
    assert head.split()[-6:] == ["chance", "oracle", "n", "left", "out", "ties"]
    assert plain.split()[-5:] == ["0.0020", "–", "500", "3", "500"]
    assert distinct.split() == ["equal", "captions", "as", "1", *"0.660 0.900 1.000 1 0.1000 – 500 – 2".split()]
    assert len({len(head), len(plain), len(distinct)}) == 1


def test_short_references_are_no_case_for_bleu(tmp_path):
    metrics = {"exact_match": 0.25, "bleu_4": 0.9, "rouge_l": 0.8, "cider_d": 2.0, "clips": 8, "left_out": 0}
    written(tmp_path, "captioning", metrics | {"reference_length_mean": 4.0})
    assert summary_lines(tmp_path)[0].split()[:4] == ["captioning", "exact", "ROUGE-L", "CIDEr-D"]
    written(tmp_path, "captioning", metrics | {"reference_length_mean": 8.0})
    assert summary_lines(tmp_path)[0].split()[:3] == ["captioning", "BLEU-4", "exact"]


def test_what_is_not_answerable_is_told(tmp_path):
    metrics = {"seen/top1": 0.5, "seen/clips": 8, "both/clips": 0, "both/left_out": 8}
    written(tmp_path, "classification.video", metrics, not_answerable={"both": ["audio"]}, never_missing=["audio"])
    lines = summary_lines(tmp_path, ("video",))
    assert [line.split()[0] for line in lines] == ["classification", "seen", "both", "no"]
    assert "not answerable: it needs audio, which is not shown" in lines[2]
    assert "no clip of the training lacked audio" in lines[3] and "input.modality_dropout.drop" in lines[3]
