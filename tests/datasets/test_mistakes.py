"""Mistakes in manifests and settings, and faults of the machine: one line each, and no clip is lost on the way."""

from __future__ import annotations

import json
import os
import resource

import numpy as np
import pytest

from mmvideo.cli.main import main
from mmvideo.datasets.build import BuildError, build
from mmvideo.datasets.corpus import open_corpus
from mmvideo.datasets.manifests.manifest import read_manifest
from mmvideo.datasets.manifests.manifest_reader import ManifestError
from mmvideo.datasets.write_shard import MachineFault, machine_fault
from mmvideo.media.containers.container import MediaError
from mmvideo.media.encode import encode

A, B = {"id": "a", "media": "a.mp4"}, {"id": "b", "media": "b.mp4"}


@pytest.fixture
def folder(tmp_path):
    """Two clips of noise, 30 kB each."""
    folder = tmp_path / "clips"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 96, 3), np.uint8)
    for name in "ab":
        encode(folder / f"{name}.mp4", noise, 6)
    return folder


def write(folder, *rows):
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (A | {"start": 10**400}, "'start' must be a number of seconds"),
        (A | {"moments": [[0, 10**400]]}, "'moments' must go from"),
        (A | {"saliency": {"step": 10**400, "scores": [1]}}, "'saliency' must have a step"),
        (A | {"labels": {"x": 10**400}}, "label 'x' is a number, and must be at most 3.40e\\+38"),
        (A | {"labels": {"x": 1e300}}, "at most 3.40e\\+38, the largest float32"),
        (A | {"label": "a\rb"}, "must be one class name"),
        (A | {"label": " "}, "must be one class name"),
        ({"id": "a", "media": "x" * 5000}, "can't be there .File name too long"),
        ({"id": "a", "media": "pipe.mp4"}, "is no plain file"),
    ],
    ids=str,
)
def test_values_that_no_corpus_can_hold_are_told_by_line(folder, row, words):
    os.mkfifo(folder / "pipe.mp4")
    write(folder, B | {"labels": {"x": 0.5}}, row)
    with pytest.raises(ManifestError, match=f"manifest.jsonl:2: .*{words}"):
        read_manifest(folder)


def test_space_around_class_names_is_none_of_them(folder, tmp_path):
    """TFDS strips the names when it reads them; two that differ in nothing else couldn't be opened."""
    write(folder, A | {"label": "cat", "labels": {"heard": ["dog ", "\u2028cat"]}}, B | {"label": " cat\t"})
    build(folder, tmp_path / "corpus", processes=1, progress=False)
    corpus = open_corpus(tmp_path / "corpus", "train")
    assert corpus.classes == {"heard": ["cat", "dog"], "label": ["cat"]}
    assert [corpus[place].labels["label"] for place in (0, 1)] == [0, 0] and corpus[0].several == {"heard": [1, 0]}
    (folder / "classes.json").write_text('{"label": ["cat", "cat "]}')
    with pytest.raises(ManifestError, match=r'classes.json: "cat " can\'t be a class'):
        read_manifest(folder)


def test_a_folder_that_can_be_no_class_is_told(folder):
    (folder / "x\ny").mkdir()
    (folder / "a.mp4").rename(folder / "x\ny" / "a.mp4")
    with pytest.raises(ManifestError, match="the folder 'x.*y' can't be a class"):
        read_manifest(folder)


def test_a_clip_is_no_manifest(folder):
    with pytest.raises(ManifestError, match="a.mp4: is no manifest; give the folder"):
        read_manifest(folder / "a.mp4")


@pytest.mark.parametrize("setting", [{"fps": 1e9}, {"fps": float("inf")}, {"fps": 1e-9}, {"gop": 10**10}])
def test_settings_out_of_all_reason_are_refused(folder, tmp_path, setting):
    with pytest.raises(BuildError, match="must be (from|at most)"):
        build(folder, tmp_path / "corpus", processes=1, progress=False, **setting)


@pytest.mark.parametrize("flags", [[], ["--gop", "2"]], ids=["shard", "temporary files"])
def test_a_full_disk_stops_a_build_and_skips_no_clip(folder, tmp_path, flags, capsys):
    """A limit on the size of files stands for the disk; with `--gop` the transcoded clip is the first to meet it."""
    arguments = ["data", "build", str(folder), str(tmp_path / "corpus"), "--processes", "1", *flags]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        assert main(arguments) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert "File too large" in said and "run the same command again" in said and said.count("\n") == 1
    assert main(arguments) == 0
    assert "2 clips (2 train), 0 skipped" in capsys.readouterr().out


def test_faults_of_the_machine_are_found_behind_others():
    full = OSError(28, "No space left on device", "/tmp/x")
    try:
        raise MediaError("a.mp4: cannot be read") from full
    except MediaError as error:
        assert machine_fault(error) == "No space left on device (/tmp/x)"
    assert machine_fault(OSError(2, "No such file or directory")) is None
    assert machine_fault(ValueError("damaged")) is None
    assert issubclass(MachineFault, OSError)
