"""Vectors of other models: matched by id, unknown where a clip is missing, and wrong files told."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.corpus import open_corpus
from mmvideo.input.annotations.teacher_embeddings import (
    match_teacher_embeddings,
    read_teacher_embeddings,
    write_teacher_embeddings,
)
from mmvideo.input.config import Audio, Input, Masking, Packing, Source
from mmvideo.input.pipeline import Batches

CONFIG = Input(
    sources=(Source("samples:sounds"),),
    video=None,
    audio=Audio(seconds=0.5),
    text=None,
    masking=Masking(),
    packing=Packing(rows=2, tokens=96, clips=6),
)


@pytest.fixture(scope="module")
def ids() -> list[str]:
    return [str(clip) for clip in open_corpus("samples:sounds", "train").table.id]


@pytest.fixture
def known(ids: list[str], tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A file that lacks every third clip, in another order than the corpus, and what it holds."""
    order = np.random.default_rng(0).permutation(len(ids))
    order = order[order % 3 > 0]
    groups = {
        "audio": np.random.default_rng(1).normal(size=(len(ids), 5)).astype(np.float32),
        "video+audio": np.random.default_rng(2).normal(size=(len(ids), 7)).astype(np.float32),
    }
    groups["video+audio"][::2] = np.nan
    path = tmp_path / "teacher.npz"
    write_teacher_embeddings(
        path, [ids[i] for i in order], {group: vectors[order] for group, vectors in groups.items()}
    )
    return path, groups


@pytest.mark.parametrize("train", [True, False])
def test_streams_carry_the_vectors_of_their_clips(known, train: bool, caplog):
    path, groups = known
    with caplog.at_level(logging.WARNING):
        batches = Batches(dataclasses.replace(CONFIG, embeddings=str(path)), train=train)
    assert f"{path} knows nothing of 33 of 98 clips, such as snd_bd_808" in caplog.text
    stream = batches.batch(0)
    assert {group: v.shape for group, v in stream.clips.teacher_embeddings.items()} == {
        "audio": (2, 6, 5),
        "video+audio": (2, 6, 7),
    }
    for group, vectors in stream.clips.teacher_embeddings.items():
        assert vectors.dtype == np.float32
        for row, slot in np.ndindex(2, 6):
            number = int(stream.clips.clip_index[row, slot])
            missing = number < 0 or number % 3 == 0
            expected = np.full_like(vectors[row, slot], np.nan) if missing else groups[group][number]
            np.testing.assert_array_equal(vectors[row, slot], expected)
    assert (stream.clips.clip_index >= 0).sum() > 4


def test_a_file_that_knows_no_clip_stops_training_and_is_told_in_evaluation(ids: list[str], tmp_path: Path, caplog):
    write_teacher_embeddings(tmp_path / "other.npz", ["elsewhere"], {"audio": np.zeros((1, 3))})
    with pytest.raises(ValueError, match="knows none of the 98 clips .it holds 'elsewhere', they are 'snd_bd_808'"):
        match_teacher_embeddings(tmp_path / "other.npz", ids, required=True)
    with caplog.at_level(logging.WARNING):
        found = match_teacher_embeddings(tmp_path / "other.npz", ids, required=False)
    assert "knows nothing of 98 of 98 clips" in caplog.text
    assert np.isnan(found.of("audio", 0)).all() and found.widths == {"audio": 3}


def test_what_was_written_is_read(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(2, 4))
    write_teacher_embeddings(tmp_path / "new" / "a.npz", ["x", "ünïcode"], {"video": vectors})
    ids, groups = read_teacher_embeddings(tmp_path / "new" / "a.npz")
    assert ids == ["x", "ünïcode"]
    np.testing.assert_array_equal(groups["video"], vectors.astype(np.float32))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.npz"]
    with pytest.raises(ValueError, match="the clip 'x' comes twice"):
        write_teacher_embeddings(tmp_path / "b.npz", ["x", "y", "x"], {"video": np.zeros((3, 4))})


def test_wrong_files_are_told(tmp_path: Path):
    path = tmp_path / "wrong.npz"
    with pytest.raises(FileNotFoundError, match="no file .*wrong.npz; write it with: mmvideo predict embed"):
        read_teacher_embeddings(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="is no file that mmvideo predict embed wrote"):
        read_teacher_embeddings(path)
    np.savez(path, video=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="is no file that mmvideo predict embed wrote"):
        read_teacher_embeddings(path)
    np.savez(path, ids=np.array(["a", "b"]), video=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"'video' \[3, 3\], where a vector for each of 2 clips should be"):
        read_teacher_embeddings(path)
    np.savez(path, ids=np.array(["a", "b"]))
    with pytest.raises(ValueError, match="holds no vectors"):
        read_teacher_embeddings(path)
