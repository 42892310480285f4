"""Transcoding keeps geometry and times, and gives the same bytes each time."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest

from mmvideo.media.decode import MediaError, decode
from mmvideo.media.probe import probe
from mmvideo.media.transcode import transcode


def ellipse(number: int) -> np.ndarray:
    """A disc as stored at a pixel aspect of 2: 30 wide and 60 high in `[96, 80]`."""
    y, x = np.mgrid[:96, :80]
    picture = np.full((96, 80, 3), 20, np.uint8)
    picture[((x - 39.5) / 15) ** 2 + ((y - 47.5) / 30) ** 2 < 1] = 230
    return picture


def roundness(frames: np.ndarray) -> float:
    """Width over height of what is bright."""
    bright = frames[0, ..., 0] > 125
    return float(bright.any(axis=0).sum() / bright.any(axis=1).sum())


WIDE = [
    ("a.mp4", dict()),
    ("a.mkv", dict(format="matroska")),
    ("a.mov", dict(format="mov")),
    ("a.ts", dict(format="mpegts")),
    ("a.avi", dict(format="avi", video="mpeg4")),
    ("4.mp4", dict(video="mpeg4")),
]


@pytest.mark.parametrize(("name", "recipe"), WIDE)
@pytest.mark.parametrize("rotation", [0, 90])
def test_pixels_that_are_not_square(make, name, recipe, rotation):
    """A circle is round, whoever looks and with whatever flags."""
    if rotation and not name.endswith(("mp4", "mov")):
        pytest.skip("the container keeps no display matrix")
    recipe = dict(audio=None, frames=6, size=(96, 80), picture=ellipse, aspect=2, rotation=rotation) | recipe
    path = make(name, **recipe)
    upright = (160, 96) if rotation else (96, 160)
    info = probe(path)
    assert (info.height, info.width) == upright
    looks = [
        decode(path), decode(path, short_side=48), decode(path, times=[0.1]), decode(path, size=upright),
        decode(transcode(path)), decode(transcode(path, gop=2)), decode(transcode(path, fps=6)),
        decode(transcode(path, short_side=48)),
    ]  # fmt: skip
    for clip in looks:
        assert clip.frames.shape[1:3] in (upright, tuple(side // 2 for side in upright))
        assert roundness(clip.frames) == pytest.approx(1, abs=0.08)
    made = probe(transcode(path, gop=2))
    assert (made.height, made.width) == upright


def test_narrow_pixels_and_an_aspect_that_cannot_be_true(make):
    narrow = make("a.mp4", audio=None, frames=2, size=(48, 64), aspect=Fraction(1, 2))
    assert (probe(narrow).width, decode(narrow).frames.shape[2], decode(transcode(narrow)).frames.shape[2]) == (32,) * 3
    wrong = make("b.mp4", audio=None, frames=2, size=(48, 64), aspect=Fraction(100, 1))
    assert (probe(wrong).width, decode(wrong).frames.shape[2], decode(transcode(wrong)).frames.shape[2]) == (64,) * 3


FORMATS = [("a.mp4", "mp4"), ("a.mkv", "matroska"), ("a.mov", "mov")]


@pytest.mark.parametrize(("name", "format"), FORMATS)
def test_a_frame_rate_gives_what_decoding_at_it_gives(make, read_numbers, name, format):
    """And the last frame, however short its stay, where the grid is as fine as the frames are on average."""
    slides = dict(format=format, frames=5, times=[0, 40, 100, 110, 131], clock=20, audio=None, b_frames=0)
    path = make(name, **slides)
    for fps in (0.5, 1, 2, 4, 5, 20, 30):
        expected, clip = read_numbers(decode(path, fps=fps).frames), decode(transcode(path, fps=fps, crf=8))
        lost = [4] if fps >= 1 and expected[-1] != 4 else []
        assert read_numbers(clip.frames) == expected + lost
        np.testing.assert_allclose(clip.times, np.arange(len(clip.times)) / fps, atol=1e-3)
    # The last frame begins at 6.55 s, and no instant of one a second comes before the end.
    assert read_numbers(decode(transcode(path, fps=1, crf=8)).frames) == [0, 0, 1, 1, 1, 2, 3, 4]


@pytest.mark.parametrize(("name", "format"), FORMATS)
@pytest.mark.parametrize("style", [dict(fps=1), dict(fps=5), dict(fps=60), dict(gop=4), dict()])
def test_one_frame_keeps_its_picture_track(make, read_numbers, name, format, style):
    path = make(name, format=format, frames=1, fps=30, audio="aac")
    info = probe(transcode(path, **style))
    assert info.has_video and info.has_audio and info.frames >= 1
    assert set(read_numbers(decode(transcode(path, **style)).frames)) == {0}


@pytest.mark.parametrize("stamps", [[0, 40, 100, 110], [0, *range(80, 100)], [0, 3, 50, 51, 120, 300]])
def test_times_and_stays_are_kept(make, read_numbers, stamps):
    for name, format in FORMATS:
        path = make(name, format=format, frames=len(stamps), times=stamps, clock=20, audio=None, b_frames=0)
        before, after = decode(path), decode(transcode(path, gop=4, crf=8))
        assert read_numbers(after.frames) == list(range(len(stamps)))
        np.testing.assert_allclose(after.times, before.times, atol=2e-3)
        assert after.seconds == pytest.approx(before.seconds, abs=2e-3)


@pytest.mark.parametrize(
    "recipe",
    [
        dict(size=(96, 128), textured=True),
        dict(size=(98, 130), textured=True, rotation=90),
        dict(size=(95, 127), textured=True, pixels="yuv444p", format="matroska"),
        dict(size=(120, 213), textured=True, pixels="yuv444p10le", format="matroska"),
        dict(size=(90, 122), textured=True, video="mpeg2video", format="mpegts", fps=25),
    ],
)
def test_the_same_bytes_every_time(make, recipe):
    """In turn, and in four threads of which each has a scaler and an encoder of its own."""
    path = make("a", audio=None, frames=8, **recipe)
    made = [transcode(path, short_side=48, gop=4) for _ in range(16)]

    def more() -> None:
        made.extend(transcode(path, short_side=48, gop=4) for _ in range(8))

    threads = [threading.Thread(target=more) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 48
    assert set(made) == {made[0]}


@pytest.mark.parametrize("style", [dict(fps=30), dict(gop=4)])
def test_stamps_that_jump_are_told_at_once(make, style):
    """Two days between two pictures; on a grid of 30 a second it would be filled with five million of them."""
    path = make("a.mkv", format="matroska", frames=4, times=[0, 10, 20, 172800 * 10], clock=10, audio=None, b_frames=0)
    with pytest.raises(MediaError, match=r"a.mkv: the time stamps of its picture jump from 2.000 s to 172800.000 s"):
        transcode(path, **style)
