"""Batches that are kept: those that were made, whoever made them, and told apart by all that decides them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches

SMALL = Input(
    sources=(Source("samples:film"),),
    video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16), crop_scale=0.6),
    audio=Audio(seconds=1.0),
    text=Text(vocabulary=200),
    masking=Masking(video=0.5),
    packing=Packing(rows=4, tokens=96, clips=4),
    threads=1,
)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)))


@pytest.fixture(scope="module")
def plain():
    return dict(Batches(SMALL).iterate(0, 4))


@pytest.fixture
def kept(tmp_path):
    return dataclasses.replace(SMALL, keep=str(tmp_path))


def test_what_is_kept_is_what_is_made_and_is_not_made_again(plain, kept, tmp_path, monkeypatch):
    first = dict(Batches(kept).iterate(1, 3))
    assert all(equal(first[step], plain[step]) for step in (1, 2))
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.glob("*.npz")) == ["1.npz", "2.npz"]
    asked = []
    batches = Batches(dataclasses.replace(kept, threads=2))
    monkeypatch.setattr(batches, "_make", lambda *span, real=batches._make: asked.append(span) or real(*span))
    again = dict(batches.iterate(0, 4))
    assert asked == [(0, 1), (3, 4)]
    assert again.keys() == plain.keys() and all(equal(again[step], plain[step]) for step in plain)


def test_a_damaged_file_is_made_again(plain, kept, tmp_path):
    list(Batches(kept).iterate(0, 1))
    (path,) = tmp_path.glob("*/0.npz")
    path.write_bytes(path.read_bytes()[:1000])
    assert equal(dict(Batches(kept).iterate(0, 1))[0], plain[0])


@pytest.mark.parametrize(
    "other",
    [dict(seed=1), dict(masking=Masking(video=0.75)), dict(sources=(Source("samples:film", "test"),))],
    ids=["seed", "masks", "split"],
)
def test_other_settings_have_another_place(kept, tmp_path, other):
    for config in (kept, dataclasses.replace(kept, **other)):
        list(Batches(config).iterate(0, 1))
    list(Batches(kept, masked=False).iterate(0, 1))
    list(Batches(kept, process_index=1, process_count=2).iterate(0, 1))
    assert len(list(tmp_path.iterdir())) == 4


def test_clips_that_gave_nothing_are_told_again(kept, monkeypatch):
    batches = Batches(kept)
    batches._skipped.add("one", "it is no video")
    list(batches.iterate(0, 1))
    assert ("one", "it is no video") in Batches(kept).skipped
