"""Writing: what is encoded comes back, files appear whole or not at all, and transcoding keeps the content."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.media.decode import MediaError, decode
from mmvideo.media.encode import encode
from mmvideo.media.probe import probe
from mmvideo.media.transcode import transcode


def moving_square(frames: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A coloured square that moves right, `[T, H, W, 3]` uint8."""
    out = np.full((frames, *size, 3), 90, np.uint8)
    for number in range(frames):
        out[number, 10:26, 2 * number % (size[1] - 16) :][:, :16] = (220, 60, 30)
    return out


def test_round_trip(tmp_path, make_beeps, find_onsets):
    frames, samples = moving_square(24), make_beeps(2.0, (0.5, 1.25), 16000)
    encode(tmp_path / "a.mp4", frames, 12, samples=samples, crf=10)
    clip = decode(tmp_path / "a.mp4")
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 3
    np.testing.assert_allclose(clip.times, np.arange(24) / 12, atol=1e-6)
    assert clip.samples.shape == samples.shape
    assert find_onsets(clip.samples, 16000) == pytest.approx([0.5, 1.25], abs=0.002)
    assert np.corrcoef(clip.samples, samples)[0, 1] > 0.98
    assert clip.seconds == pytest.approx(2.0) and not clip.truncated


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (15, 17)])
def test_odd_sizes_are_kept(tmp_path, size):
    frames = np.full((5, *size, 3), (200, 100, 50), np.uint8)
    encode(tmp_path / "a.mp4", frames, 12.5)
    clip = decode(tmp_path / "a.mp4")
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).max() < 6


def test_sound_alone_and_pictures_alone(tmp_path, make_beeps):
    encode(tmp_path / "sound.mp4", None, 0.0, samples=make_beeps(1.0, (0.5,), 48000), sample_rate=48000)
    encode(tmp_path / "pictures.mp4", moving_square(6), 29.97)
    sound, pictures = probe(tmp_path / "sound.mp4"), probe(tmp_path / "pictures.mp4")
    assert sound.has_audio and not sound.has_video and sound.sample_rate == 48000
    assert pictures.has_video and not pictures.has_audio and pictures.fps == pytest.approx(29.97)


def key_frames(path) -> list[int]:
    import av

    with av.open(str(path)) as container:
        return [round(float(p.pts * p.time_base) * 12) for p in container.demux(video=0) if p.is_keyframe]


def test_key_frames_are_at_most_a_group_apart(tmp_path):
    encode(tmp_path / "still.mp4", np.full((24, 48, 64, 3), 90, np.uint8), 12, gop=8)
    assert key_frames(tmp_path / "still.mp4") == [0, 8, 16]
    encode(tmp_path / "cuts.mp4", moving_square(24), 12, gop=8)
    assert max(np.diff([*key_frames(tmp_path / "cuts.mp4"), 24])) <= 8


def test_sound_lies_beside_its_pictures_in_the_file(tmp_path):
    """Half of a file holds half of both tracks, so a reader of a part need not read the whole."""
    encode(tmp_path / "a.mp4", moving_square(240), 12, samples=np.zeros(20 * 16000, np.float32) + 0.01)
    content = (tmp_path / "a.mp4").read_bytes()
    clip = decode(content[: len(content) // 2])
    assert clip.truncated
    assert len(clip.samples) / 16000 == pytest.approx(clip.times[-1], abs=1.5)


def test_a_failure_leaves_no_file(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"before")

    def fail(*_):
        raise RuntimeError("the power is gone")

    monkeypatch.setattr("mmvideo.media.encode._write", fail)
    with pytest.raises(RuntimeError):
        encode(tmp_path / "a.mp4", moving_square(2), 12)
    assert (tmp_path / "a.mp4").read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("frames", "more"),
    [
        (None, {}),
        (np.zeros((0, 8, 8, 3), np.uint8), {}),
        (np.zeros((2, 8, 8, 3), np.uint8), dict(fps=0.0)),
        (None, dict(samples=np.zeros(0, np.float32))),
        (None, dict(samples=np.zeros(100, np.float32), sample_rate=12345)),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, frames, more):
    with pytest.raises(ValueError):
        encode(tmp_path / "a.mp4", frames, **{"fps": 12.0, **more})


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        encode(tmp_path / "nowhere" / "a.mp4", moving_square(2), 12)


def test_transcode_shrinks_and_keeps_frames_and_sound(make, read_numbers, find_onsets):
    path = make("a.mkv", format="matroska", audio="flac", size=(96, 128))
    content = transcode(path, short_side=24, gop=6, crf=10)
    info, clip = probe(content), decode(content)
    assert (info.height, info.width, info.frames, info.sample_rate) == (24, 32, 24, 48000)
    assert read_numbers(clip.frames) == list(range(24))
    assert find_onsets(clip.samples, 16000) == pytest.approx([0.5, 1.25], abs=0.005)
    assert len(clip.samples) == pytest.approx(32000, abs=20)


def test_transcode_to_another_frame_rate(make, read_numbers):
    clip = decode(transcode(make("a.mp4", frames=24), fps=6))
    np.testing.assert_allclose(clip.times, np.arange(12) / 6, atol=1e-3)
    shown = np.array(read_numbers(clip.frames))
    assert np.abs(shown - 2 * np.arange(12)).max() <= 1


def test_transcode_keeps_variable_times(make, read_numbers):
    stamps = [0, 10, 12, 50, 51, 52, 100, 180]
    content = transcode(make("a.mkv", format="matroska", frames=8, times=stamps, clock=100, audio=None), crf=10)
    clip = decode(content)
    assert read_numbers(clip.frames) == list(range(8))
    np.testing.assert_allclose(clip.times, np.array(stamps) / 100, atol=2e-3)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_transcode_sets_upright(make, rotation):
    half = lambda n: np.vstack([np.full((24, 64, 3), 220, np.uint8), np.full((24, 64, 3), 30, np.uint8)])  # noqa: E731
    path = make("a.mp4", audio=None, frames=3, rotation=rotation, picture=half)
    there, here = decode(path).frames, decode(transcode(path, crf=10)).frames
    assert there.shape == here.shape
    assert np.abs(there.astype(int) - here).mean() < 4
    assert probe(transcode(path)).rotation == 0


@pytest.mark.parametrize("name", ["webm", "mpeg", "gif", "wav", "surround", "late", "odd"])
def test_transcode_takes_what_decode_takes(make, name):
    recipe = {
        "webm": dict(format="webm", video="libvpx", audio="libopus"),
        "mpeg": dict(format="mpeg", video="mpeg2video", audio="mp2", fps=25, textured=True),
        "gif": dict(format="gif", video="gif", audio=None, pixels="gray", fps=10),
        "wav": dict(format="wav", video=None, audio="pcm_s16le", rate=44100),
        "surround": dict(layout="5.1"),
        "late": dict(delay=0.5, rate=16000),
        "odd": dict(format="matroska", size=(47, 63), pixels="yuv444p", audio=None),
    }[name]
    path = make("a", **recipe)
    there, here = decode(path), decode(transcode(path))
    assert (there.frames is None) == (here.frames is None)
    if there.frames is not None:
        assert len(there.frames) == len(here.frames)
        assert np.abs(there.frames.mean(axis=(1, 2, 3)) - here.frames.mean(axis=(1, 2, 3))).max() < 3
        np.testing.assert_allclose(there.times, here.times, atol=2e-3)
    assert (there.samples is None) == (here.samples is None)
    if there.samples is not None:
        length = min(len(there.samples), len(here.samples))
        assert abs(len(there.samples) - len(here.samples)) < 1600
        assert np.corrcoef(there.samples[:length], here.samples[:length])[0, 1] > 0.9


def test_transcode_of_webp(tmp_path, read_numbers):
    image = pytest.importorskip("PIL.Image")
    pages = [image.fromarray(np.full((21, 31, 3), 8 + 5 * n, np.uint8)) for n in range(6)]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=100, lossless=True)
    assert read_numbers(decode(transcode(tmp_path / "a.webp")).frames) == list(range(6))


def test_transcode_of_rubbish(tmp_path):
    with pytest.raises(MediaError):
        transcode(b"rubbish" * 50)
