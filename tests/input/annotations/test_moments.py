"""What of a view its caption tells of: cut to the view, in its time, on its grid."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.manifests.annotations import Saliency
from mmvideo.input.annotations.moments import view_moments, view_saliency
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.stream import TokenStream

NAN = float("nan")
CONFIG = Input(
    video=Video(fps=4.0, frames=8, size=32, tubelet=(2, 32, 32)),
    audio=None,
    text=Text(length=8, vocabulary=40),
    packing=Packing(rows=1, tokens=64, clips=4),
    threads=1,
    prefetch=2,
)
"""Views of 2 s in 4 steps of half a second."""


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([(0.0, 1.0)], [(0, 0)]),
        ([(0.0, 3.0)], [(0, 1)]),
        ([(2.0, 2.5), (3.0, 9.0)], [(0, 0.5), (1, 2)]),
        ([(2.5, 3.0), (3.5, 4.0)], [(0.5, 1), (1.5, 2)]),
        ([(4.0, 5.0), (5.0, 6.0), (0.0, 2.0)], [(0, 0)]),
        ([], [(0, 0)]),
        (None, []),
    ],
)
def test_moments_are_cut_to_the_view(moments, expected):
    """The view lasts from 2 s to 4 s; where nothing of what is known lies in it, a moment of no length says so."""
    found = view_moments(moments, 2.0, 2.0, 3)
    np.testing.assert_allclose(found, [*expected, *[(NAN, NAN)] * (3 - len(expected))])


def test_saliency_is_the_mean_of_what_is_known_of_each_step():
    known = Saliency(1.0, (0.0, 1.0, None, 0.5))
    middles = np.array([0.25, 0.75, 1.25, 2.25, 3.75, 4.25])
    np.testing.assert_allclose(view_saliency(known, middles, 0.5, 7), [0, 0, 1, NAN, 0.5, NAN, NAN])
    # Steps over two windows, one over an unknown one.
    np.testing.assert_allclose(view_saliency(known, np.array([1.0, 1.75, 2.5]), 1.0, 3), [0.5, 1, NAN])
    np.testing.assert_allclose(view_saliency(known, np.array([0.875]), 0.5, 1), [0.25])
    assert np.isnan(view_saliency(None, middles, 0.5, 7)).all()
    assert np.isnan(view_saliency(Saliency(2.0, ()), middles, 0.5, 7)).all()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """Clips of 5 s: with moments and saliency, with moments alone, with none of either, and a short one."""
    from mmvideo.media.encode import encode

    folder = tmp_path_factory.mktemp("moments")
    rng = np.random.default_rng(0)
    for name, seconds in (("long", 5), ("short", 1)):
        frames = rng.integers(0, 255, (seconds * 8, 32, 32, 3)).astype(np.uint8)
        encode(folder / f"{name}.mp4", frames, 8.0)
    rows = [
        {"media": "long.mp4", "moments": [[0, 1.75], [2, 3], [4, 5]], "saliency": {"step": 1, "scores": [0, 1, 0.5]}},
        {"media": "long.mp4", "moments": [[1, 5]]},
        {"media": "long.mp4"},
        {"media": "short.mp4", "moments": [[0, 0.5]], "saliency": {"step": 0.5, "scores": [1, 0, 0, 0]}},
        {"media": "long.mp4", "moments": [[0, 1]]},
    ]
    rows = [{"id": str(number), "captions": ["a word"], "labels": {}} | row for number, row in enumerate(rows)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(folder, folder / "corpus", processes=1, progress=False)
    return str(folder / "corpus")


def make(corpus: str, **options) -> Batches:
    return Batches(dataclasses.replace(CONFIG, sources=(Source(corpus),)), **options)


def flat(batches: Batches, steps: range) -> list[tuple[int, int, int, TokenStream]]:
    """Number and slot of every clip of some batches of one row, with the batch's number and stream."""
    streams = [(step, batches.batch(step)) for step in steps]
    return [(int(n), slot, step, s) for step, s in streams for slot, n in enumerate(s.clips.clip_index[0]) if n >= 0]


def test_the_middle_of_each_clip(corpus):
    batches = make(corpus, train=False)
    found = flat(batches, range(batches.steps_per_epoch))
    clips = found[0][-1].clips
    assert clips.moments.shape == (1, 4, 3, 2) and clips.saliency.shape == (1, 4, 4)
    moments = {n: s.clips.moments[0, slot] for n, slot, _, s in found}
    saliency = {n: s.clips.saliency[0, slot] for n, slot, _, s in found}
    # The middle 2 s of 5 s are those from 1.5 s on.
    np.testing.assert_allclose(moments[0], [[0, 0.25], [0.5, 1.5], [NAN, NAN]], atol=1e-6)
    np.testing.assert_allclose(saliency[0], [1, 0.5, 0.5, NAN], atol=1e-6)
    np.testing.assert_allclose(moments[1], [[0, 2], [NAN, NAN], [NAN, NAN]], atol=1e-6)
    assert np.isnan(saliency[1]).all() and np.isnan(saliency[2]).all() and np.isnan(moments[2]).all()
    # A clip of one second has two steps.
    np.testing.assert_allclose(moments[3], [[0, 0.5], [NAN, NAN], [NAN, NAN]], atol=1e-6)
    np.testing.assert_allclose(saliency[3], [1, 0, NAN, NAN], atol=1e-6)
    np.testing.assert_allclose(moments[4], [[0, 0], [NAN, NAN], [NAN, NAN]])


def test_training_cuts_them_to_the_view_that_it_draws(corpus):
    """The start of the view is found again in its pictures: noise that is another in every frame."""
    from mmvideo.input.transforms.patchify import video_frames
    from mmvideo.media.decode import decode

    batches = make(corpus, train=True)
    whole = decode(batches.corpus.record(0).media).frames.astype(np.int16)
    starts = []
    for number, slot, _, stream in flat(batches, range(60)):
        if number != 0:
            continue
        here = np.flatnonzero((stream.layout.clip[0] == slot) & (stream.layout.modality[0] == 0))
        patches = stream.content["video"][0, stream.layout.source_index[0, here]]
        frames = video_frames(patches, (2, 32, 32), 32, 32).astype(np.int16)
        # Frames at 4 a second of a file at 8 a second, the first an eighth of a second behind the start.
        shown = [int(np.abs(whole - frame).mean((1, 2, 3)).argmin()) for frame in frames]
        moments, saliency = stream.clips.moments[0, slot], stream.clips.saliency[0, slot]
        start = float(stream.clips.start[0, slot])
        assert np.abs(np.array(shown) / 8 + 1 / 16 - (start + (np.arange(8) + 0.5) / 4)).max() < 0.13
        starts.append(start)
        cut = [[max(a, start) - start, min(b, start + 2) - start] for a, b in ((0, 1.75), (2, 3), (4, 5))]
        cut = [pair for pair in cut if pair[1] - pair[0] > 1e-6]
        np.testing.assert_allclose(moments[: len(cut)], cut, atol=1e-5)
        assert np.isnan(moments[len(cut) :]).all()
        fine = start + (np.arange(2000) + 0.5) / 1000
        score = np.array([0, 1, 0.5, NAN, NAN])[fine.astype(int)].reshape(4, 500)
        for part in range(4):
            wanted = NAN if np.isnan(score[part]).all() else np.nanmean(score[part])
            assert saliency[part] == pytest.approx(wanted, abs=0.02, nan_ok=True)
    assert len(starts) > 20 and max(starts) - min(starts) > 2


def test_a_corpus_that_knows_of_none_has_none(corpus):
    config = dataclasses.replace(CONFIG, video=None, audio=Audio(seconds=1.0), sources=(Source("samples:sounds"),))
    clips = Batches(config, train=False).batch(0).clips
    assert clips.moments is None and clips.saliency is None
    both = dataclasses.replace(CONFIG, audio=Audio(seconds=1.0), sources=(Source(corpus), Source("samples:sounds")))
    batches = Batches(both, train=False)
    clips = [batches.batch(step).clips for step in range(batches.steps_per_epoch)]
    told = sum(int((~np.isnan(part.moments[..., 0])).any(-1).sum()) for part in clips)
    assert told == 4


def test_resuming_gives_the_same(corpus):
    batches = make(corpus, train=True)
    (_, resumed), (_, also) = list(make(corpus, train=True).iterate(3, 5))
    for step, stream in ((3, resumed), (4, also)):
        looked = batches.batch(step).clips
        assert np.array_equal(looked.moments, stream.clips.moments, equal_nan=True)
        assert np.array_equal(looked.saliency, stream.clips.saliency, equal_nan=True)


def test_a_written_corpus_of_scenes_becomes_a_stream(tmp_path: Path):
    from mmvideo.datasets.shapes import ScenesConfig, ShapesConfig, write_scenes

    config = ScenesConfig(ShapesConfig(size=32, longest=2.0), shortest=4.0, longest=6.0)
    write_scenes(tmp_path / "scenes", config, {"train": 4}, processes=1)
    build(tmp_path / "scenes", tmp_path / "corpus", processes=1, progress=False, tokenizer_vocabulary=100)
    video = Video(fps=2.0, frames=12, size=32, tubelet=(1, 32, 32))
    batches = Batches(
        dataclasses.replace(CONFIG, video=video, sources=(Source(str(tmp_path / "corpus")),)), train=False
    )
    seen = 0
    for number, slot, _, stream in flat(batches, range(batches.steps_per_epoch)):
        seconds = batches.corpus.seconds[number]
        attributes = batches.corpus.corpora[0].attributes(number)
        moments, saliency = stream.clips.moments[0, slot], stream.clips.saliency[0, slot]
        steps = int(2 * seconds + 1e-6)
        offset = (seconds - steps / 2) / 2
        expected = np.clip(np.array(attributes["moments"]) - offset, 0, steps / 2)
        expected = expected[expected[:, 1] - expected[:, 0] > 1e-6]
        np.testing.assert_allclose(moments[: len(expected)], expected, atol=1e-4)
        assert not np.isnan(saliency[:steps]).any() and np.isnan(saliency[steps:]).all()
        inside = [any(a <= 0.5 * t and 0.5 * (t + 1) <= b for a, b in expected) for t in range(steps)]
        np.testing.assert_allclose(saliency[:steps][inside], 1, atol=0.15)
        seen += sum(inside)
    assert seen > 20
