"""Colours: what a file shows is what is decoded, and what is decoded after transcoding."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmvideo.media.decode import MediaError, decode
from mmvideo.media.transcode import transcode

BENCH = Path(__file__).parents[3] / "tools" / "bench" / "colours.py"
SPEC = importlib.util.spec_from_file_location("bench_colours", BENCH)
colours = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(colours)


@pytest.mark.parametrize("pixels", colours.PIXELS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", colours.MATRICES)
def test_transcoding_keeps_colours(tmp_path, matrix, full, pixels):
    path = colours.write_colours(tmp_path / "a.mkv", colours.MATRICES[matrix], full, pixels)
    before, after = decode(path).frames, decode(transcode(path, gop=2, crf=6)).frames
    assert np.abs(colours.seen(before) - colours.COLOURS).max() <= 1
    assert np.abs(colours.seen(after) - colours.seen(before)).max() <= 2.5


@pytest.mark.parametrize("matrix", ["bt709", "bt2020nc", "ycgco"])
@pytest.mark.parametrize("style", [dict(short_side=48, gop=2), dict(fps=5)])
def test_size_and_rate_leave_colours_alone(tmp_path, matrix, style):
    for name, codec in (("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")):
        if matrix == "ycgco" and codec != "libx264":
            continue  # VP9 has no YCgCo.
        path = colours.write_colours(tmp_path / name, colours.MATRICES[matrix], False, "yuv420p", codec)
        before, after = decode(path).frames, decode(transcode(path, crf=6, **style)).frames
        assert np.abs(colours.seen(after) - colours.seen(before)).max() <= 2.5


def test_a_reserved_matrix_says_nothing_and_an_unknown_one_is_told(tmp_path):
    """What says nothing is BT.601, as FFmpeg takes it; constant luminance needs arithmetic that isn't here."""
    bt601 = colours.MATRICES["smpte170m"]
    path = colours.write_colours(tmp_path / "a.mkv", bt601, False, "yuv420p", colorspace=3)
    assert np.abs(colours.seen(decode(path).frames) - colours.COLOURS).max() <= 1
    path = colours.write_colours(tmp_path / "b.mkv", bt601, False, "yuv420p", colorspace=10)
    for read in (decode, transcode):
        with pytest.raises(MediaError, match=r"b.mkv: its colours are coded in matrix 10"):
            read(path)


def ramp(number: int) -> np.ndarray:
    """Red to blue from left to right at the same luma, `[48, 64, 3]`."""
    blue = np.linspace(0, 1, 64)[:, None]
    line = (1 - blue) * (200, 60, 60) + blue * (60, 100, 220)
    return np.broadcast_to(np.rint(line).astype(np.uint8), (48, 64, 3)).copy()


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (128, 96), (32, 24)])
def test_every_pixel_has_a_colour_of_its_own(make, width, height):
    """Pairs of pixels share their chroma in 4:2:0, but not what is drawn of it."""
    path = make("a.mkv", format="matroska", audio=None, frames=2, picture=ramp, video="ffv1")
    red = decode(path, size=(height, width)).frames[0, height // 2, :, 0].astype(int)
    steps = -np.diff(red)[2:-2]
    # The ramp falls by 140 over the width: one step a pixel or so, none of them twice with a rest between.
    assert steps.max() <= np.ceil(140 / width) + 1
    assert np.abs(steps[::2].sum() - steps[1::2].sum()) <= 0.25 * steps.sum()
    drawn = np.interp((np.arange(width) + 0.5) * 64 / width - 0.5, np.arange(64), ramp(0)[0, :, 0])
    assert np.abs(red - drawn)[2:-2].max() <= 3
