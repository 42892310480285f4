"""Damaged records of a run: what is whole counts, what isn't is said, and nothing is read from elsewhere."""

from __future__ import annotations

import json
import os

import pytest
from training_toy import ToyBatches, quick, toy_train

from mmvideo.records.lines import read_lines, scan
from mmvideo.records.sealed import seal
from mmvideo.training.checkpoint.checkpoint_manifest import (
    DIGESTS,
    FILES,
    WRITTEN,
    DamagedCheckpoint,
    check_files,
    make_record,
    read_record,
)
from mmvideo.training.logging.metric_writers import MetricsWriter
from mmvideo.training.logging.time_ledger import TimeLedger


def test_a_run_resumes_over_damaged_lines(tmp_path, capsys):
    toy_train(tmp_path, quick(steps=4, save_every=2), ToyBatches())
    for name in ("ledger.jsonl", "metrics.jsonl"):
        lines = (tmp_path / name).read_bytes().split(b"\n")
        lines[1] = lines[1].replace(b"step", b"st%p")
        lines[2] = lines[2][:9] + b"\xff" + lines[2][10:]
        (tmp_path / name).write_bytes(b"\n".join(lines))
    (tmp_path / ".config.json.far-1.new").write_text("half")
    os.utime(tmp_path / ".config.json.far-1.new", (0, 0))
    state = toy_train(tmp_path, quick(steps=6, save_every=2), ToyBatches())
    assert int(state.step) == 6
    said = capsys.readouterr().err
    assert said.count("2 of ") == 2 and "ledger.jsonl" in said and "metrics.jsonl" in said
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 4, 5, 6]
    assert len((tmp_path / "metrics.jsonl.damaged").read_bytes().splitlines()) == 2
    assert scan(tmp_path / "ledger.jsonl").damaged == [2, 3], "what is damaged stays in its place"
    assert not list(tmp_path.rglob("*.new"))


def test_lines_of_a_ledger_without_checksums_that_lack_a_key_are_left_out(tmp_path, capsys):
    path = tmp_path / "ledger.jsonl"
    whole = {"run": 1, "from_step": 0, "to_step": 2, "at": 100.0, "wall": 5.0}
    broken = [{**whole, "to_step": "2"}, {"run": 1, "from_step": 0, "to_st%p": 2, "at": 100.0}, {**whole, "at": None}]
    path.write_text("".join(json.dumps(line) + "\n" for line in (whole, *broken)))
    assert TimeLedger(path).begin(2) == 0.0
    assert "3 of 4 lines are damaged" in capsys.readouterr().err


def test_metrics_whose_step_is_no_number_are_kept_apart(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st%p": 2}\n{"step": "3"}\n')
    MetricsWriter(tmp_path, 9, tensorboard=False).close()
    assert read_lines(path) == [{"step": 1}]
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == '{"st%p": 2}\n{"step": "3"}\n'


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "", ".."])
def test_a_record_names_no_file_outside_its_folder(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"secret")
    record = tmp_path / "record"
    record.mkdir()
    for file, data in make_record({}, {"spec.json": b"{}"}).files.items():
        (record / file).write_bytes(data)
    assert read_record(record)[1] == {"spec.json": b"{}"}
    content = json.loads((record / DIGESTS).read_bytes())
    del content["sha256"]
    (record / DIGESTS).write_text(json.dumps(seal({**content, "assets": {name: "0" * 64}})))
    with pytest.raises(DamagedCheckpoint, match="which is no file of this folder"):
        read_record(record)


@pytest.mark.parametrize("name", ["params/../../secret", "/etc/hostname"])
def test_a_list_of_files_names_none_outside_the_checkpoint(tmp_path, name):
    (tmp_path / "5" / WRITTEN).mkdir(parents=True)
    (tmp_path / "5" / WRITTEN / FILES).write_text(json.dumps(seal({"files": {name: [6, None]}})))
    with pytest.raises(DamagedCheckpoint, match="which is no file of this folder"):
        check_files(tmp_path / "5", "params")
