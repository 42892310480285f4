"""Corpora: read by threads, processes and copies; refused when something is missing."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import CorpusError, open_corpus, splits

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "out"
    build(clips, out, processes=1, shard_clips=2)
    return out


def test_threads_share_a_corpus(folder):
    corpus = open_corpus(folder, "train")
    places = [number % len(corpus) for number in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        records = list(pool.map(corpus.__getitem__, places))
    assert [record.id for record in records] == [corpus.table.id[place] for place in places]


def test_a_pickled_copy_reads_the_same(folder):
    corpus = open_corpus(folder, "train")
    assert corpus[0].id == "clip0"
    copy = pickle.loads(pickle.dumps(corpus))
    assert copy[4] == corpus[4] and copy.classes == corpus.classes


def test_a_corpus_survives_a_fork(folder):
    code = """
import multiprocessing, sys
from mmvideo.datasets.corpus import open_corpus
corpus = open_corpus(sys.argv[1], "train")
first = corpus[0]
def read(place):
    return corpus[place].id
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*pool.map(read, range(len(corpus))), corpus[1].id)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["clip0", "clip1", "clip2", "clip4", "clip5", "clip1"], done.stderr


def test_a_clip_that_is_not_there(folder):
    corpus = open_corpus(folder, "test")
    for index in (1, -1):
        with pytest.raises(IndexError, match=f"clip {index} of split 'test', which has 1"):
            corpus[index]


def test_splits_are_named(folder):
    assert splits(folder) == {"train": 5, "test": 1}
    with pytest.raises(CorpusError, match="has no split 'valid'; it has train, test"):
        open_corpus(folder, "valid")


def test_what_is_no_corpus(clips, tmp_path):
    with pytest.raises(CorpusError, match="there is no such folder"):
        open_corpus(tmp_path / "nowhere", "train")
    with pytest.raises(CorpusError, match="is no corpus; build one"):
        open_corpus(clips, "train")
    with pytest.raises(CorpusError, match="no embedded set 'movies'; there are film, animations, sounds, all"):
        open_corpus("samples:movies", "train")


def test_a_missing_or_shortened_shard(clips, tmp_path):
    out = tmp_path / "out"
    build(clips, out, processes=1, shard_clips=2)
    shard = next(out.glob("*-train.array_record-00001-*"))
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(CorpusError, match="has another size than when it was built"):
        open_corpus(out, "train")
    shard.unlink()
    with pytest.raises(CorpusError, match="is missing"):
        open_corpus(out, "train")
    assert len(open_corpus(out, "test")) == 1
