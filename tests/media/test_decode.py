"""Exact seeks, frame rates, sizes, rotation, sync and damage."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mmvideo.media.decode import Clip, MediaError, decode
from mmvideo.media.frames import frame_selection
from mmvideo.media.probe import probe


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("a.mp4", dict(frames=48, gop=12)),
        ("a.mkv", dict(format="matroska", frames=48, gop=12)),
        ("a.webm", dict(format="webm", video="libvpx", audio="libopus", frames=48, gop=12)),
        ("a.avi", dict(format="avi", video="mpeg4", audio="pcm_s16le", frames=48, gop=12)),
        ("a.mpg", dict(format="mpeg", video="mpeg2video", audio="mp2", fps=25, frames=48, gop=12, textured=True)),
        ("open.mp4", dict(frames=48, gop=12, open_gop=True)),
    ],
)
@pytest.mark.parametrize("audio", [True, False])
def test_every_seek_lands_on_its_frame(make, read_numbers, name, recipe, audio):
    fps = recipe.get("fps", 12)
    path = make(name, **recipe)
    for first in (0, 1, 5, 11, 12, 13, 23, 24, 35, 47):
        clip = decode(path, start=first / fps, end=(first + 3) / fps, audio=audio)
        assert read_numbers(clip.frames) == list(range(first, min(first + 3, 48)))
        np.testing.assert_allclose(clip.times, np.arange(len(clip.times)) / fps, atol=2e-3)


def test_sound_after_a_seek_is_the_sound_of_the_whole(make):
    path = make("a.mp4", frames=48, rate=16000, beeps=(0.3, 1.1, 2.0, 3.3))
    whole = decode(path).samples
    for start in (0.4, 1.0, 2.05, 3.0):
        part = decode(path, start=start, end=start + 0.5).samples
        first = round(start * 16000)
        np.testing.assert_allclose(part, whole[first : first + 8000], atol=1e-5)


def test_wanted_times_give_the_frames_on_show(make, read_numbers):
    path = make("a.mp4", frames=48)
    times = [0.0, 0.05, 0.0834, 1.0, 1.0, 2.49, 3.99, 9.0]
    clip = decode(path, times=times)
    assert read_numbers(clip.frames) == [0, 0, 1, 12, 12, 29, 47, 47]
    np.testing.assert_allclose(clip.times, times)
    later = decode(path, start=1.0, end=4.0, times=np.array([0.0, 0.5, 1.5]))
    assert read_numbers(later.frames) == [12, 18, 30]
    np.testing.assert_allclose(later.times, [0.0, 0.5, 1.5])


def test_only_groups_that_show_something_wanted_are_decoded(make, read_numbers, monkeypatch):
    path = make("a.mp4", frames=48, gop=6, b_frames=0)
    decoded = []
    decode_packet = frame_selection.PacketGate._decode
    monkeypatch.setattr(frame_selection.PacketGate, "_decode", lambda s, p: (decoded.append(p), decode_packet(s, p)))
    clip = decode(path, times=[0.5, 3.5], audio=False)
    assert read_numbers(clip.frames) == [6, 42]
    assert len(decoded) <= 12  # Two groups of six of the eight in the file.


def test_frame_rate_is_sampled_as_shown(make, read_numbers):
    path = make("a.mp4", frames=24)
    assert read_numbers(decode(path, fps=4).frames) == [0, 3, 6, 9, 12, 15, 18, 21]
    assert read_numbers(decode(path, fps=5, end=1.0).frames) == [0, 2, 4, 7, 9]
    faster = decode(path, fps=24, start=0.5, end=1.0)
    assert read_numbers(faster.frames) == [6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11]
    np.testing.assert_allclose(faster.times, np.arange(12) / 24)


def test_variable_frame_rate(make, read_numbers):
    stamps = [0, 10, 12, 50, 51, 52, 100, 180]
    recipe = dict(format="matroska", frames=8, times=stamps, clock=100, audio=None)
    path = make("a.mkv", **recipe)
    clip = decode(path)
    np.testing.assert_allclose(clip.times, np.array(stamps) / 100, atol=1.1e-3)
    assert read_numbers(clip.frames) == list(range(8))
    assert read_numbers(decode(path, fps=10, end=1.0).frames) == [0, 1, 2, 2, 2, 3, 5, 5, 5, 5]
    assert read_numbers(decode(path, start=0.3, end=0.4).frames) == [2]
    assert read_numbers(decode(path, start=0.515, end=1.2).frames) == [5, 6]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_picture_and_sound_keep_in_step_when_the_sound_begins_late(make, find_onsets, name):
    recipe = dict(format="mp4" if name == "a.mp4" else "matroska", frames=36, rate=16000, delay=0.75)
    clip = decode(make(name, **recipe))
    np.testing.assert_allclose(find_onsets(clip.samples, 16000), [1.25, 2.0], atol=0.005)
    assert np.abs(clip.samples[: 11 * 1000]).max() < 1e-3


@pytest.mark.parametrize("audio", ["aac", "libmp3lame", "libopus", "ac3"])
def test_encoder_delay_is_taken_off(make, find_onsets, audio):
    clip = decode(make("a.mkv", format="matroska", audio=audio))
    np.testing.assert_allclose(find_onsets(clip.samples, 16000), [0.5, 1.25], atol=0.004)


def quadrants(number: int) -> np.ndarray:
    """Red, green, blue and white quarters, clockwise from the top left."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:] = (255, 0, 0), (0, 255, 0)
    picture[24:, 32:], picture[24:, :32] = (0, 0, 255), (255, 255, 255)
    return picture


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_pictures_stand_upright(make, rotation):
    path = make("a.mp4", audio=None, frames=3, rotation=rotation, picture=quadrants)
    expected = np.rot90(quadrants(0), rotation // 90)
    frames = decode(path).frames
    assert frames.shape[1:] == expected.shape
    inside = np.abs(frames[0].astype(int) - expected).max(axis=-1)
    assert np.percentile(inside, 80) < 16  # The seams between the quarters blur.
    info = probe(path)
    assert (info.rotation, info.width, info.height) == (rotation, expected.shape[1], expected.shape[0])
    assert decode(path, size=(20, 40)).frames.shape == (3, 20, 40, 3)
    assert min(decode(path, short_side=24).frames.shape[1:3]) == 24
    small = decode(path, short_side=24).frames.shape
    assert (small[1] > small[2]) == (expected.shape[0] > expected.shape[1])


@pytest.mark.parametrize(("flip", "axis"), [("hflip", 1), ("vflip", 0)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_mirrored_pictures(make, flip, axis, rotation):
    """A display matrix with a determinant below zero mirrors, which a rotation alone cannot tell."""
    path = make("a.mp4", audio=None, frames=2, picture=quadrants, rotation=rotation, flip=flip)
    frames = decode(path).frames
    from mmvideo.media.frames.frame_converter import orientation

    frame = next(_frames(path))
    matrix = np.frombuffer(frame.side_data.get("DISPLAYMATRIX"), np.int32).reshape(3, 3) / 65536
    transposed, flip_y, flip_x = orientation(frame)
    assert frames.shape[1:3] == ((64, 48) if rotation else (48, 64))
    # Where the matrix sends the stored corner (0, 0), relative to the middle, its red must be shown.
    x, y = np.array([-1.0, -1.0]) @ matrix[:2, :2]
    height, width = frames.shape[1:3]
    seen = frames[0, int(height * (0.5 + y / 4)), int(width * (0.5 + x / 4))]
    assert seen[0] > 200 and seen[1:].max() < 60


def _frames(path):
    import av

    with av.open(str(path)) as container:
        yield from container.decode(video=0)


@pytest.mark.parametrize("size", [(47, 63), (31, 64), (48, 33)])
def test_odd_sizes(make, read_numbers, size):
    clip = decode(make("a.mkv", format="matroska", size=size, pixels="yuv444p", audio=None))
    assert clip.frames.shape[1:3] == size
    assert read_numbers(clip.frames) == list(range(24))


@pytest.mark.parametrize("kernel", ["area", "bilinear", "bicubic", "lanczos"])
def test_every_kernel_resizes_without_aliasing(make, kernel):
    stripes = lambda n: np.broadcast_to(np.uint8([40, 216] * 32)[None, :, None], (48, 64, 3)).copy()  # noqa: E731
    path = make("a.mkv", format="matroska", pixels="yuv444p", audio=None, frames=2, picture=stripes)
    frames = decode(path, size=(12, 16), kernel=kernel).frames
    assert frames.shape == (2, 12, 16, 3)
    assert np.abs(frames[:, :, 2:-2].astype(int) - 128).max() < 12  # Stripes finer than a pixel are their mean.


def test_short_side_keeps_the_proportions(make):
    path = make("a.mp4", audio=None, frames=2)
    assert decode(path, short_side=24).frames.shape == (2, 24, 32, 3)
    assert decode(path, short_side=96).frames.shape == (2, 96, 128, 3)


@pytest.mark.parametrize("colour", [(200, 30, 40), (20, 180, 60), (30, 60, 210)])
@pytest.mark.parametrize("matrix", ["untagged", "bt709", "bt601"])
def test_colours_come_out_as_they_went_in(tmp_path, colour, matrix):
    import av
    from av.video.reformatter import Colorspace

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        target = {"untagged": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt601": Colorspace.ITU601}[matrix]
        stream.codec_context.colorspace = {"untagged": 2, "bt709": 1, "bt601": 6}[matrix]
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=target)))
        container.mux(stream.encode(None))
    for size in (None, (24, 32)):
        seen = decode(tmp_path / "a.mp4", size=size).frames
        np.testing.assert_allclose(seen.reshape(-1, 3).astype(float).mean(0), colour, atol=4)


def test_a_file_cut_short_gives_what_there_is_and_says_so(make, read_numbers):
    path = make("a.mp4", frames=48, options={"movflags": "+faststart"}, textured=True)
    content = path.read_bytes()
    clip = decode(content[: len(content) * 3 // 5])
    assert clip.truncated
    assert 10 < len(clip.frames) < 40
    assert read_numbers(clip.frames)[:10] == list(range(10))
    assert 0.5 < clip.seconds < 3.6
    assert not decode(content).truncated
    assert not decode(content[: len(content) * 3 // 5], end=0.5).truncated


@pytest.mark.parametrize("format", ["matroska", "mpeg"])
def test_other_containers_cut_short(make, format):
    recipe = dict(format=format, frames=50, textured=True)
    if format == "mpeg":
        recipe |= dict(video="mpeg2video", audio="mp2", fps=25)
    content = make("a", **recipe).read_bytes()
    clip = decode(content[: len(content) // 2])
    assert 10 < len(clip.frames) < 45
    assert clip.truncated or format == "mpeg"  # A programme stream does not say how long it should be.


def test_damage_in_the_middle_is_said(make):
    content = bytearray(make("a.mp4", frames=48, textured=True, audio=None).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = np.random.default_rng(0).bytes(6000)
    clip = decode(bytes(content))
    assert clip.truncated
    assert len(clip.frames) >= 24


@pytest.mark.parametrize(
    "content",
    [b"", b"not media at all" * 100, bytes(5000), b"RIFF\0\0\0\0WEBPrubbish", b"\0\0\0\x18ftypmp42" + bytes(64)],
)  # fmt: skip
def test_rubbish_is_one_clear_error(content):
    for read in (decode, probe):
        with pytest.raises(MediaError, match=f"media of {len(content)} bytes"):
            read(content)


def test_an_index_that_is_cut_off_is_an_error(make):
    content = make("a.mp4").read_bytes()
    with pytest.raises(MediaError):
        decode(content[: len(content) // 2])


def test_missing_file_and_missing_tracks_are_named(make, tmp_path):
    with pytest.raises(MediaError, match="nowhere.mp4: no such file"):
        decode(tmp_path / "nowhere.mp4")
    with pytest.raises(MediaError, match="no sound"):
        decode(make("a.mp4", audio=None), video=False)
    with pytest.raises(MediaError, match="no video"):
        decode(make("a.wav", video=None, format="wav", audio="pcm_s16le"), audio=False)
    with pytest.raises(MediaError, match="2.000 s long"):
        decode(make("b.mp4", rate=16000), start=5.0)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(start=-1.0),
        dict(start=1.0, end=1.0),
        dict(fps=0.0),
        dict(fps=2.0, times=[0.0]),
        dict(times=[1.0, 0.5]),
        dict(times=[]),
        dict(kernel="nearest"),
        dict(short_side=0),
        dict(short_side=8, size=(8, 8)),
        dict(sample_rate=0),
    ],
)
def test_contradictory_arguments(make, wrong):
    with pytest.raises(ValueError):
        decode(make("a.mp4", frames=2), **wrong)


def test_threads_agree(make):
    path = make("a.mp4").read_bytes()
    expected = decode(path, fps=6, size=(32, 32))
    clips: list[Clip] = []
    threads = [threading.Thread(target=lambda: clips.append(decode(path, fps=6, size=(32, 32)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clips) == 8
    for clip in clips:
        np.testing.assert_array_equal(clip.frames, expected.frames)
        np.testing.assert_array_equal(clip.samples, expected.samples)


def test_opened_files_are_closed(make):
    import os

    path = make("a.mp4")
    decode(path)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(20):
        decode(path, end=0.5)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before
