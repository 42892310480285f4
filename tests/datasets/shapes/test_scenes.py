"""Long videos of shapes: their queries are true of their moments and of nothing else, and their files hold them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import open_corpus
from mmvideo.datasets.manifests.manifest import read_manifest
from mmvideo.datasets.shapes import Scenes, ScenesConfig, Shapes, ShapesConfig, write_scenes
from mmvideo.datasets.shapes import write as room
from mmvideo.datasets.shapes.grammar import read
from mmvideo.media.decode import decode

CONFIG = ScenesConfig(ShapesConfig(seed=3, size=32, longest=2.4), shortest=5.0, longest=8.0)
SPLITS = {"train": 3, "test": 1}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, CONFIG, SPLITS, processes=1)
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_query_is_true_of_its_moments_and_of_no_other_scene():
    scenes = Scenes(ScenesConfig())
    several = brief = 0
    for video in scenes.draw("train", 150):
        rows = scenes.rows(video)
        assert 1 <= len(rows) <= 3
        for row in rows:
            named = read(row["captions"][0])
            assert named
            fits = [all(scene[name] == value for name, value in named.items()) for scene in row["attributes"]["scenes"]]
            spans = [[event["start"], event["end"]] for event in row["events"]]
            assert row["moments"] == [span for span, fit in zip(spans, fits, strict=True) if fit] != []
            several += len(row["moments"]) > 1
            brief += len(named) < 5
        assert len({tuple(read(row["captions"][0]).items()) for row in rows}) == len(rows)
    assert several > 60 and 150 < brief < 300


def test_scenes_follow_each_other_and_fill_the_video():
    config = ScenesConfig()
    lengths = []
    for video in Scenes(config).draw("train", 200):
        (first, _), (_, last) = video.spans[0], video.spans[-1]
        assert first == 0 and all(a[1] == b[0] for a, b in zip(video.spans, video.spans[1:], strict=False))
        assert all(1.6 - 1e-6 <= end - start <= 4 + 1e-6 for start, end in video.spans)
        lengths.append(last)
        for event, scene in zip(Scenes(config).event_row(video)["events"], video.scenes, strict=True):
            assert read(event["caption"]) == {name: getattr(scene, name) for name in read(event["caption"])}
            assert len(read(event["caption"])) == 5
    assert 12 <= min(lengths) < 13 and 20 < max(lengths) <= 24


def test_saliency_is_the_share_of_what_is_named_that_is_true():
    scenes = Scenes(ScenesConfig(step=0.5))
    for video in scenes.draw("test", 20):
        for row in scenes.rows(video):
            named, scores = read(row["captions"][0]), row["saliency"]["scores"]
            assert len(scores) == np.ceil(2 * video.spans[-1][1] - 1e-6)
            times = np.arange(0, video.spans[-1][1] - 1e-3, 1e-3) + 5e-4
            which = np.searchsorted([end for _, end in video.spans], times)
            share = np.array([np.mean([getattr(s, n) == v for n, v in named.items()]) for s in video.scenes])[which]
            for window, score in enumerate(scores):
                inside = (times >= 0.5 * window) & (times < 0.5 * (window + 1))
                assert score == pytest.approx(share[inside].mean(), abs=5e-3)


def test_draws_depend_on_the_seed_and_the_split_alone():
    scenes, again = Scenes(CONFIG), Scenes(CONFIG)
    assert scenes.draw("train", 5) == again.draw("train", 9)[:5]
    assert scenes.draw("train", 1)[0].scenes != scenes.draw("test", 1)[0].scenes
    other = Scenes(dataclasses.replace(CONFIG, scene=dataclasses.replace(CONFIG.scene, seed=4)))
    assert other.draw("train", 1)[0].scenes != scenes.draw("train", 1)[0].scenes
    clip, scene = Shapes(CONFIG.scene).draw("train", 1)[0], scenes.draw("train", 1)[0].scenes[0]
    assert dataclasses.replace(clip, split=scene.split) != scene


def test_no_scene_comes_again_at_once():
    """Two scenes that are alike stand next to each other no more often than chance has it."""
    videos = Scenes(dataclasses.replace(ScenesConfig(), again=1.0)).draw("train", 100)

    def named(scene):
        return scene.shape, scene.colour, scene.motion, scene.timbre, scene.melody

    assert sum(len({named(scene) for scene in video.scenes}) < len(video.scenes) for video in videos) > 90
    # With `again` of 1 all scenes are the first or the second one; those that stand together are not copied on purpose.
    assert all(named(video.scenes[2]) == named(video.scenes[0]) for video in videos)


def test_files_hold_the_scenes(written):
    scenes = Scenes(CONFIG)
    for video in scenes.draw("train", 3):
        found = decode(written / video.media)
        frames, samples = scenes.frames(video), scenes.samples(video)
        assert found.frames.shape == frames.shape and len(frames) == round(video.spans[-1][1] * CONFIG.scene.fps)
        assert np.abs(found.frames.astype(float) - frames).mean() < 10
        assert abs(len(found.samples) - len(samples)) <= 1024
        count = min(len(samples), len(found.samples))
        assert np.corrcoef(samples[:count], found.samples[:count])[0, 1] > 0.9
        # Each scene is the clip that its attributes alone give.
        (start, end), alone = video.spans[1], Shapes(dataclasses.replace(CONFIG.scene, captions=2, short=1))
        cut = frames[round(start * CONFIG.scene.fps) : round(end * CONFIG.scene.fps)]
        assert np.array_equal(cut, alone.frames(video.scenes[1]))


def test_manifests_are_read_and_built(written, tmp_path):
    queries, events = read_manifest(written), read_manifest(written / "events.jsonl")
    assert len(events) == 4 and len(queries) > 8
    assert {row.media for row in queries} == {row.media for row in events}
    assert all(row.moments and row.saliency for row in queries) and not any(row.moments for row in events)
    summary = build(written, tmp_path / "corpus", processes=1)
    assert summary.clips == summary.moments == len(queries) and summary.skipped == []
    corpus = open_corpus(tmp_path / "corpus", "test")
    assert len(corpus.attributes(0)["events"]) == len(corpus.attributes(0)["scenes"]) > 1


def test_writing_goes_on_where_it_stopped_and_is_the_same_from_two_processes(written, tmp_path):
    write_scenes(tmp_path, CONFIG, {"train": 20}, processes=2)
    for video in Scenes(CONFIG).draw("train", 3):
        assert (tmp_path / video.media).read_bytes() == (written / video.media).read_bytes()
    first, second = (tmp_path / video.media for video in Scenes(CONFIG).draw("train", 2))
    before, content = first.stat().st_mtime_ns, second.read_bytes()
    second.write_bytes(content[:1000])
    manifest = (tmp_path / "manifest.jsonl").read_bytes()
    (tmp_path / "manifest.jsonl").unlink()
    write_scenes(tmp_path, CONFIG, {"train": 20}, processes=1)
    assert first.stat().st_mtime_ns == before and second.read_bytes() == content
    assert (tmp_path / "manifest.jsonl").read_bytes() == manifest
    with pytest.raises(ValueError, match=r"shapes of other settings \(queries\)"):
        write_scenes(tmp_path, dataclasses.replace(CONFIG, queries=2), {"train": 2})


def test_a_run_that_breaks_off_leaves_no_manifest(tmp_path, monkeypatch):
    def failing(out, config, video):
        raise OSError("no space left")

    monkeypatch.setattr(room, "write_video", failing)
    with pytest.raises(OSError, match="no space left"):
        write_scenes(tmp_path, CONFIG, {"train": 2}, processes=1)
    assert not (tmp_path / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shortest": 3.0}, "shortest=3.0 of long videos must lie from 4.0"),
        ({"longest": 15.0}, "longest=15.0 of long videos must lie from 16.0"),
        ({"again": 1.5}, "again=1.5"),
        ({"queries": 0}, "queries=0"),
    ],
)
def test_wrong_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        ScenesConfig(**wrong)
