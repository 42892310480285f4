"""Written shapes: whole, resumable, the same from any number of processes, and still true after H.264 and AAC."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mmvideo.datasets.shapes as shapes_package
from mmvideo.datasets.shapes import Shapes, ShapesConfig, write_shapes
from mmvideo.datasets.shapes import write as room
from mmvideo.datasets.shapes.attributes import LABELS
from mmvideo.media.decode import decode

CONFIG = ShapesConfig(seed=11)
SPLITS = {"train": 34, "test": 3}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, CONFIG, SPLITS, processes=1)
    return folder


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_manifest_has_what_training_and_the_oracle_need(written):
    table = rows(written)
    assert [row["id"] for row in table] == [f"train-{i:06d}" for i in range(34)] + [f"test-{i:06d}" for i in range(3)]
    drawn = Shapes(CONFIG).draw("train", 34) + Shapes(CONFIG).draw("test", 3)
    for row, clip in zip(table, drawn, strict=True):
        assert row["attributes"] == clip.as_dict() | {"settings": dataclasses.asdict(CONFIG)}
        assert row["split"] == clip.split
        assert all(row["labels"][name] in classes for name, classes in LABELS.items())
        assert len(row["captions"]) == CONFIG.captions
        assert room.is_whole(written / row["media"])
    assert len(list((written / "clips").iterdir())) == len(table)


def test_decoded_clip_shows_the_pictures_and_sounds_the_beeps_in_place(written):
    shapes = Shapes(CONFIG)
    for clip in shapes.draw("train", 6):
        found = decode(written / "clips" / f"{clip.id}.mp4")
        frames, samples = shapes.frames(clip), shapes.samples(clip)
        assert found.frames.shape == frames.shape
        np.testing.assert_allclose(found.times, np.arange(clip.frames) / clip.fps, atol=1e-3)
        assert np.abs(found.frames.astype(float) - frames).mean() < 8
        count = min(len(samples), len(found.samples))
        assert abs(len(found.samples) - len(samples)) <= 1024
        # The best shift between what was made and what is heard is none, to the millisecond.
        lags = range(-160, 161, 4)
        match = [np.dot(samples[200 : count - 200], found.samples[200 + lag : count - 200 + lag]) for lag in lags]
        assert abs(lags[int(np.argmax(match))]) <= 16


def test_two_processes_write_the_same_bytes(written, tmp_path):
    write_shapes(tmp_path, CONFIG, SPLITS, processes=2, progress=True)
    for path in sorted(written.rglob("*.*")):
        assert (tmp_path / path.relative_to(written)).read_bytes() == path.read_bytes(), path.name


def test_resuming_keeps_whole_clips_and_makes_the_rest(tmp_path):
    write_shapes(tmp_path, CONFIG, {"train": 3}, processes=1)
    first, second, third = (tmp_path / "clips" / f"train-{i:06d}.mp4" for i in range(3))
    before, content = first.stat().st_mtime_ns, second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    third.unlink()
    write_shapes(tmp_path, CONFIG, {"train": 4}, processes=1)
    assert first.stat().st_mtime_ns == before
    assert second.read_bytes() == content
    assert third.exists() and len(rows(tmp_path)) == 4


def test_a_run_that_breaks_off_leaves_no_manifest_and_can_go_on(tmp_path, monkeypatch):
    whole = room.write_clip

    def failing(out, config, clip):
        if clip.index == 2:
            raise OSError("no space left")
        return whole(out, config, clip)

    monkeypatch.setattr(room, "write_clip", failing)
    with pytest.raises(OSError, match="no space left"):
        write_shapes(tmp_path, CONFIG, {"train": 4}, processes=1)
    assert not (tmp_path / "manifest.jsonl").exists()
    monkeypatch.undo()
    write_shapes(tmp_path, CONFIG, {"train": 4}, processes=1)
    assert all(room.is_whole(tmp_path / row["media"]) for row in rows(tmp_path))


def test_processes_that_die_are_one_clear_error(tmp_path):
    """A script from standard input can't be imported by spawned processes, so they die; that must not hang."""
    script = (
        "from mmvideo.datasets.shapes import ShapesConfig, write_shapes\n"
        f"write_shapes({str(tmp_path)!r}, ShapesConfig(), {{'train': 40}}, processes=2)\n"
    )
    root = Path(shapes_package.__file__).parents[3]
    ran = subprocess.run([sys.executable, "-"], input=script, cwd=root, capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0 and "a process that wrote clips died" in ran.stderr
    assert not (tmp_path / "manifest.jsonl").exists()


@pytest.mark.parametrize("rest", [b"", b"\0\0\0\x20ftyp", b"rubbish" * 40, b"\0\0\0\x04moov" * 9])
def test_a_broken_file_is_not_whole(tmp_path, rest):
    (tmp_path / "clip.mp4").write_bytes(rest)
    assert not room.is_whole(tmp_path / "clip.mp4")
    assert not room.is_whole(tmp_path / "absent.mp4")


def test_a_folder_of_other_settings_is_refused(written):
    before = (written / "manifest.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"other settings \(difficulty, seed\)"):
        write_shapes(written, ShapesConfig(difficulty=0.9), SPLITS)
    assert (written / "manifest.jsonl").read_bytes() == before


@pytest.mark.parametrize("splits", [{"../up": 3}, {"train": -1}, {"": 2}])
def test_wrong_splits_are_named(tmp_path, splits):
    with pytest.raises(ValueError, match="shapes: split"):
        write_shapes(tmp_path / "new", CONFIG, splits)
    assert not (tmp_path / "new").exists()
