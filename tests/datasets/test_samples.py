"""The embedded sets are whole, and built once however many ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.corpus import open_corpus
from mmvideo.datasets.samples import FOLDER, SETS, cached, licences, sample_rows

REPOSITORY = Path(__file__).parents[2]
COUNTS = {"film": (82, 28), "animations": (179, 61), "sounds": (98, 33), "all": (359, 122)}


@pytest.mark.parametrize("name", COUNTS)
def test_rows_and_licences(name):
    rows = sample_rows(name)
    assert tuple(sum(row.split == split for row in rows) for split in ("train", "test")) == COUNTS[name]
    assert all(len(row.captions) == 2 for row in rows)
    assert all(path.stat().st_size > 500 for path in licences(name).values())
    assert len({row.id for row in rows}) == len(rows)


def test_no_stray_files():
    found = {path.resolve() for part in SETS for path in (FOLDER / part / "clips").iterdir()}
    assert found == {row.media.resolve() for row in sample_rows("all")}


def test_most_clips_of_all_lack_something():
    for split, clips in zip(("train", "test"), COUNTS["all"], strict=True):
        corpus = open_corpus("samples:all", split)
        table = corpus.table
        assert len(corpus) == clips and sum(table.has_video & table.has_audio) < clips / 3
        part = np.array(corpus.classes["set"])[table.labels["set"]]
        np.testing.assert_array_equal(table.has_video, part != "sounds")
        np.testing.assert_array_equal(table.has_audio, part != "animations")
        for name in SETS:
            np.testing.assert_array_equal(table.labels[name] >= 0, part == name)
    assert corpus.tokenizer_path is not None
    assert (corpus.path / "LICENSE-film.txt").read_bytes() == (FOLDER / "film" / "LICENSE.txt").read_bytes()


def test_two_processes_at_once_build_it_once(tmp_path):
    code = """
from mmvideo.datasets import samples
from mmvideo.datasets.corpus import open_corpus
build, built = samples._build, []
samples._build = lambda name, out: (built.append(name), build(name, out))
corpus = open_corpus("samples:sounds", "test")
print(len(built), len([corpus[i] for i in range(len(corpus))]))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MMVIDEO_CACHE": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    said = sorted(process.communicate(timeout=120)[0].split() for process in both)
    assert said == [[b"0", b"33"], [b"1", b"33"]]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [cached("sounds").name]
