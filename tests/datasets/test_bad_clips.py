"""Builds with bad clips among good ones: the good are in, and each bad one has its reason."""

from __future__ import annotations

import json

import pytest
from bad_clips import BAD, ROWS, WAITING, write_source

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import open_corpus


def check(tmp_path, good: int, bad: dict) -> None:
    source = tmp_path / "source"
    source.mkdir()
    rows = write_source(source, good, bad)
    (source / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = build(source, tmp_path / "out", processes=2, shard_clips=32, progress=False)
    assert dict(summary.skipped).keys() == {*bad, *ROWS}, summary.skipped
    assert summary.clips == good and sum(summary.splits.values()) == good
    listed = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().split("\n") if line]
    assert [(entry["id"], entry["reason"]) for entry in listed] == summary.skipped
    for entry in listed:
        assert len(entry["reason"]) > 20 and "\n" not in entry["reason"], entry
    there = {split: open_corpus(tmp_path / "out", split) for split in summary.splits}
    assert sorted(int(name.split()[1]) for corpus in there.values() for name in corpus.table.id) == list(range(good))
    for corpus in there.values():
        assert [corpus[place].id for place in range(len(corpus))] == list(corpus.table.id)


def test_bad_clips_leave_the_good_ones(tmp_path):
    check(tmp_path, 40, BAD)


@pytest.mark.slow(reason="two hundred clips through real codecs, and a picture of 256 million pixels")
def test_two_hundred_good_clips_and_twenty_bad_ones_of_every_kind(tmp_path):
    assert len(BAD | WAITING) + len(ROWS) == 20
    check(tmp_path, 200, BAD | WAITING)
