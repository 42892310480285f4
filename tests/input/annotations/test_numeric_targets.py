"""What a stream says of several classes and of numbers: merged over sources, NaN where unknown."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.input.config import Audio, Input, Packing, Source
from mmvideo.input.pipeline import Batches

CONFIG = Input(
    video=None, audio=Audio(seconds=0.5), text=None, packing=Packing(rows=2, tokens=96, clips=4), threads=1, prefetch=2
)
NAN = float("nan")


def corpus(folder: Path, labels: list[dict]) -> str:
    """A corpus of short sounds with these labels; a clip each."""
    from mmvideo.media.encode import encode

    (folder / "clips").mkdir(parents=True)
    encode(folder / "clips" / "a.mp4", None, 0.0, samples=np.sin(np.arange(8000) / 9).astype(np.float32))
    rows = [{"id": f"{folder.name}{n}", "media": "a.mp4", "labels": own} for n, own in enumerate(labels)]
    (folder / "clips" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(folder / "clips", folder / "corpus", processes=1, progress=False)
    return str(folder / "corpus")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("targets")
    corpus(
        folder / "one",
        [
            {"events": ["dog", "bark"], "mood": -1.5, "verb": "run"},
            {"events": [], "mood": 2.0},
            {"verb": "sit"},
            {"events": ["dog"], "mood": 0},
        ],
    )
    corpus(folder / "two", [{"events": ["cat", "bark"], "score": 0.25}, {"verb": "run"}])
    return folder


def make(folder: Path, *names: str, **options) -> Batches:
    sources = tuple(Source(str(folder / name / "corpus")) for name in names)
    return Batches(dataclasses.replace(CONFIG, sources=sources), train=False, **options)


def found(batches: Batches) -> dict[str, np.ndarray]:
    """The targets of every clip, in the order of their numbers."""
    streams = [batches.batch(step) for step in range(batches.steps_per_epoch)]
    numbers = np.concatenate([stream.clips.clip_index.ravel() for stream in streams])
    order = [np.flatnonzero(numbers == number)[0] for number in range(len(batches.corpus))]
    names = streams[0].clips.targets
    flat = {
        kind: np.concatenate([s.clips.targets[kind].reshape(-1, s.clips.targets[kind].shape[-1]) for s in streams])
        for kind in names
    }
    assert all(np.isnan(values[numbers < 0]).all() for values in flat.values())
    return {kind: values[order] for kind, values in flat.items()}


def test_targets_of_one_corpus(folder):
    batches = make(folder, "one")
    assert batches.annotations == Annotations(("verb",), ("events",), ("mood",))
    assert batches.classes == {"events": ["bark", "dog"], "verb": ["run", "sit"]}
    stream = batches.batch(0)
    assert set(stream.clips.labels) == {"verb"}
    assert stream.clips.targets["events"].shape == (2, 4, 2) and stream.clips.targets["mood"].shape == (2, 4, 1)
    assert all(values.dtype == np.float32 for values in stream.clips.targets.values())
    targets = found(batches)
    np.testing.assert_array_equal(targets["events"], [[1, 1], [0, 0], [NAN, NAN], [0, 1]])
    np.testing.assert_array_equal(targets["mood"], [[-1.5], [2], [NAN], [0]])


def test_a_class_that_a_source_does_not_name_is_unknown_of_its_clips(folder):
    batches = make(folder, "one", "two")
    assert batches.classes["events"] == ["bark", "dog", "cat"]
    targets = found(batches)
    np.testing.assert_array_equal(
        targets["events"],
        [[1, 1, NAN], [0, 0, NAN], [NAN] * 3, [0, 1, NAN], [1, NAN, 1], [NAN] * 3],
    )
    np.testing.assert_array_equal(targets["mood"].ravel(), [-1.5, 2, NAN, 0, NAN, NAN])
    np.testing.assert_array_equal(targets["score"].ravel(), [NAN, NAN, NAN, NAN, 0.25, NAN])
    direct = batches.corpus.targets_of(np.array([4, -1, 0]))
    np.testing.assert_array_equal(direct["events"], [[1, NAN, 1], [NAN] * 3, [1, 1, NAN]])
    assert batches.corpus.class_names(0) == ["run", "dog", "bark"]


def test_a_checkpoint_carries_names_and_sorts(folder):
    trained = make(folder, "one").assets()
    assert json.loads(trained["classes.json"])["events"] == ["bark", "dog"]
    other = make(folder, "two", assets=trained)
    assert other.annotations == Annotations(("verb",), ("events",), ("mood",))
    assert other.classes == {"events": ["bark", "dog"], "verb": ["run", "sit"]}
    targets = found(other)
    assert set(targets) == {"events", "mood"}
    np.testing.assert_array_equal(targets["events"], [[1, NAN], [NAN, NAN]])
    assert np.isnan(targets["mood"]).all()
    assert other.assets() == trained


def test_a_checkpoint_of_before_knows_single_classes(folder):
    old = {name: text for name, text in make(folder, "one").assets().items() if name != "annotations.json"}
    old["classes.json"] = b'{"verb": ["sit", "run"]}'
    batches = make(folder, "one", assets=old)
    assert batches.annotations == Annotations(("verb",)) and batches.batch(0).clips.targets == {}
    assert batches.corpus.labels["verb"].tolist() == [1, -1, 0, -1]


def test_a_kind_that_is_two_things_is_refused(folder, tmp_path):
    corpus(tmp_path / "odd", [{"events": "dog"}])
    shutil.copytree(folder / "one", tmp_path / "one")
    with pytest.raises(ValueError, match=r"label 'events' is a list of classes in .*one/corpus, one class in .*odd"):
        make(tmp_path, "one", "odd")
    with pytest.raises(ValueError, match=r"label 'events' is a list of classes in the trained model, one class in"):
        make(tmp_path, "odd", assets=make(tmp_path, "one").assets())


def test_a_clip_that_cannot_be_read_has_no_targets(folder, tmp_path):
    shutil.copytree(folder / "one", tmp_path / "one")
    (shard,) = (tmp_path / "one" / "corpus").glob("*array_record*")
    content = shard.read_bytes()
    media = (folder / "one" / "clips" / "a.mp4").read_bytes()
    middle = media[len(media) // 2 : len(media) // 2 + 64]
    shard.write_bytes(content.replace(middle, bytes(64), 1))
    batches = make(tmp_path, "one")
    stream = batches.batch(0)
    assert len(batches.skipped) == 1
    lost = stream.clips.clip_index == -1
    assert all(np.isnan(values[lost]).all() for values in stream.clips.targets.values())
