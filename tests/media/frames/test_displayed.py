"""What decoders give that is no picture yet: fields, transparent pixels, light for brighter screens."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mmvideo.media.decode import decode
from mmvideo.media.frames.hdr import bend, hlg_light, pq_code, pq_light
from mmvideo.media.probe import probe
from mmvideo.media.transcode import transcode

BENCH = Path(__file__).parents[3] / "tools" / "bench" / "colours.py"
SPEC = importlib.util.spec_from_file_location("bench_colours", BENCH)
colours = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(colours)

SIZE = {"dvvideo": (576, 720)}


def combed(number: int, size: tuple[int, int]) -> np.ndarray:
    """A bar that moves an eighth of the width between the two fields of a frame: even lines show where it was first."""
    height, width = size
    picture = np.full((height, width, 3), 30, np.uint8)
    for field in (0, 1):
        left = width // 4 + 8 * number + width // 8 * field
        picture[field::2, left : left + width // 4] = 220
    return picture


FIELDS = {
    "a.mp4": ("libx264", dict(options={"x264-params": "interlaced=1:tff=1"}, format="mp4")),
    "a.ts": ("libx264", dict(options={"x264-params": "interlaced=1:tff=1"}, format="mpegts")),
    "a.mpg": ("mpeg2video", dict(options={"flags": "+ildct+ilme", "bf": "0"}, format="mpeg")),
    "a.avi": ("dvvideo", dict(options={}, format="avi")),
}


def write_fields(path: Path, codec: str, options: dict, format: str) -> Path:
    import av

    height, width = SIZE.get(codec, (96, 128))
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 8_000_000
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(combed(number, (height, width)), format="rgb24").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def comb(frames: np.ndarray) -> float:
    """How much neighbouring lines differ, in the middle of each frame, on average over the frames."""
    lines = frames[:, 8:-8, :, 1].astype(int)
    return float(np.abs(np.diff(lines, axis=1)).mean())


@pytest.mark.parametrize("name", FIELDS)
def test_fields_become_whole_pictures(tmp_path, name):
    codec, style = FIELDS[name]
    path = write_fields(tmp_path / name, codec, **style)
    raw, whole = decode(path, deinterlace=False).frames, decode(path).frames
    assert comb(raw) > 15 > 3 > comb(whole)
    assert whole.shape == raw.shape
    assert comb(decode(transcode(path, gop=2, crf=8)).frames) < 3
    assert comb(decode(transcode(path, gop=2, crf=8, deinterlace=False)).frames) > 15


def test_progressive_pictures_are_left_alone(make):
    path = make("a.mp4", audio=None, textured=True)
    np.testing.assert_array_equal(decode(path).frames, decode(path, deinterlace=False).frames)


NITS = np.array([0, 1, 10, 50, 80, 203, 500, 1000])
"""Light of the eight patches."""


def write_light(path: Path, curve: str) -> Path:
    """Greys of so many nits in PQ or HLG, BT.2020, 10 bits, limited range."""
    import av

    scene = (NITS / 1000) ** (1 / 1.2)
    fine = np.linspace(0, 1, 200001)
    signal = (
        pq_code(NITS.astype(float)) if curve == "pq" else fine[np.searchsorted(hlg_light(fine), scene).clip(0, 200000)]
    )
    luma = np.rint((219 * np.where(NITS > 0, signal, 0) + 16) * 4)
    planes = [np.tile(np.repeat(luma, 16), (64, 1)).astype(np.uint16)] + [np.full((32, 64), 512, np.uint16)] * 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=10, options={"x265-params": "log-level=none:crf=4"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_range = 9, 9, 1
        context.color_trc = 16 if curve == "pq" else 18
        for number in range(3):
            frame = colours.filled(planes, "yuv420p10le")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_light_for_bright_screens_is_brought_to_bt709(tmp_path, curve):
    """Up to the knee at 88 nits light is kept: a screen of 203 nits shows its code value's 203 (v / 255)^2.4 nits."""
    path = write_light(tmp_path / "a.mp4", curve)
    shown = colours.seen(decode(path).frames)
    assert np.abs(shown - shown[:, :1]).max() <= 2  # Grey stays grey.
    light = 203 * (shown[:, 0] / 255) ** 2.4
    np.testing.assert_allclose(light[1:5], NITS[1:5], rtol=0.05, atol=0.3)
    assert (np.diff(shown[:, 0]) > 0).all() and shown[-1, 0] >= 253 and shown[0, 0] <= 1
    raw = colours.seen(decode(path, tone_map=False).frames)
    assert np.abs(raw - shown).max() > 20


@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_transcoding_shows_the_same_light(tmp_path, curve):
    path = write_light(tmp_path / "a.mp4", curve)
    made = transcode(path, crf=6)
    before, after = colours.seen(decode(path).frames), colours.seen(decode(made).frames)
    assert np.abs(after - before).max() <= 2.5
    np.testing.assert_array_equal(decode(made).frames, decode(made, tone_map=False).frames)  # It is BT.709 now.
    kept = transcode(path, crf=6, tone_map=False)
    again = colours.seen(decode(kept).frames)
    assert np.abs(again - before).max() <= 6  # Eight bits of PQ are coarser than ten; its tags are kept.


def test_the_curves_are_those_of_the_standards():
    """BT.2100's and BT.2390's own figures: PQ 0.5081 is 100 nits, 0.7518 is 1000; HLG 0.5 is 1/12; the knee."""
    np.testing.assert_allclose(pq_light(np.array([0.508078, 0.751827, 1.0])), [100, 1000, 10000], rtol=1e-4)
    codes = np.linspace(0.02, 1, 50)
    np.testing.assert_allclose(pq_code(pq_light(codes)), codes, atol=1e-9)
    np.testing.assert_allclose(hlg_light(np.array([0.0, 0.5, 1.0])), [0, 1 / 12, 1], atol=1e-6)
    light = bend(np.array([1.0, 50.0, 87.0, 203.0, 1000.0]))
    np.testing.assert_allclose(light, [1, 50, 87, 159, 203], rtol=1e-3)


def half(number: int) -> np.ndarray:
    """Black, all of it there on the left, nothing of it on the right, half of it in between."""
    picture = np.zeros((24, 48, 4), np.uint8)
    picture[:, :16, 3], picture[:, 16:32, 3] = 255, 128
    picture[..., 2] = 40
    return picture


def write_alpha(path: Path) -> Path:
    import av

    if path.suffix in (".webp", ".png"):
        image = pytest.importorskip("PIL.Image")
        picture = image.fromarray(half(0))
        picture.save(path, **({"lossless": True, "exact": True} if path.suffix == ".webp" else {}))
        return path
    if path.suffix == ".gif":
        image = pytest.importorskip("PIL.Image")
        pages = [image.fromarray(half(0)) for _ in range(2)]
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=100, disposal=2)
        return path
    codec, pixels = {
        ".mov": ("qtrle", "argb"), ".mkv": ("ffv1", "yuva444p"), ".apng": ("apng", "rgba"), ".avi": ("png", "rgba"),
        ".vp9.webm": ("libvpx-vp9", "yuva420p"), ".vp8.webm": ("libvpx", "yuva420p"),
    }["".join(path.suffixes)]  # fmt: skip
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 24, pixels
        if codec.startswith("libvpx"):
            stream.bit_rate, stream.options = 4_000_000, {"auto-alt-ref": "0"}
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(half(number), format="rgba").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "name", ["a.webp", "a.gif", "a.png", "a.mov", "a.mkv", "a.apng", "a.avi", "a.vp9.webm", "a.vp8.webm"]
)
def test_transparent_pixels_lie_on_white_in_every_format(tmp_path, name):
    path = write_alpha(tmp_path / name)
    for frames in (decode(path).frames, decode(transcode(path, crf=4)).frames):
        there, gone = frames[0, 4:-4, 4:12].mean(axis=(0, 1)), frames[0, 4:-4, 36:44].mean(axis=(0, 1))
        np.testing.assert_allclose(there, (0, 0, 40), atol=4)
        np.testing.assert_allclose(gone, (255, 255, 255), atol=4)
        if name != "a.gif":  # A pixel of a gif is there or not.
            np.testing.assert_allclose(frames[0, 4:-4, 20:28].mean(axis=(0, 1)), (127, 127, 147), atol=4)
    assert probe(path).has_video
