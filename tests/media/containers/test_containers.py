"""Every container and codec that the reader promises, made here and read back frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.media.decode import decode
from mmvideo.media.probe import probe

VIDEOS = {
    "mp4": dict(format="mp4"),
    "webm_vp8": dict(format="webm", video="libvpx", audio="libopus"),
    "webm_vp9": dict(format="webm", video="libvpx-vp9", audio="libopus"),
    "mkv": dict(format="matroska", audio="flac"),
    "avi": dict(format="avi", video="mpeg4", audio="pcm_s16le", rate=44100),
    "mpeg": dict(format="mpeg", video="mpeg1video", audio="mp2", fps=25, frames=40, textured=True),
    "mpeg2": dict(format="mpeg", video="mpeg2video", audio="mp2", fps=25, frames=40, textured=True, rate=44100),
    "ogg": dict(format="ogg", video="libvpx", audio="libopus"),
    "mp3_in_mp4": dict(format="mp4", audio="libmp3lame", rate=44100),
}

SOUNDS = {
    "wav": dict(format="wav", audio="pcm_s16le", rate=44100),
    "flac": dict(format="flac", audio="flac", rate=44100, layout="stereo"),
    "mp3": dict(format="mp3", audio="libmp3lame", rate=44100, layout="stereo"),
    "ogg": dict(format="ogg", audio="libopus"),
    "m4a": dict(format="mp4", audio="aac", rate=22050),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_video_and_sound_of_every_container(make, read_numbers, find_onsets, name):
    recipe = VIDEOS[name]
    frames, fps = recipe.get("frames", 24), recipe.get("fps", 12)
    path = make(name, **recipe)
    clip = decode(path)
    assert clip.frames.shape == (frames, 48, 64, 3)
    assert clip.frames.dtype == np.uint8 and clip.samples.dtype == np.float32
    assert read_numbers(clip.frames) == list(range(frames))
    np.testing.assert_allclose(clip.times, np.arange(frames) / fps, atol=2e-3)
    np.testing.assert_allclose(find_onsets(clip.samples, 16000), [0.5, 1.25], atol=0.01)
    assert clip.seconds == pytest.approx(frames / fps, abs=0.08)
    assert not clip.truncated
    info = probe(path)
    assert (info.width, info.height, info.frames) == (64, 48, frames)
    assert info.has_video and info.has_audio and info.channels == 1
    assert info.fps == pytest.approx(fps, rel=0.05)
    assert info.seconds == pytest.approx(frames / fps, abs=0.08)


@pytest.mark.parametrize("name", VIDEOS)
def test_bytes_give_what_the_file_gives(make, name):
    path = make(name, **VIDEOS[name])
    there, here = decode(path, start=0.3, end=1.1), decode(path.read_bytes(), start=0.3, end=1.1)
    np.testing.assert_array_equal(there.frames, here.frames)
    np.testing.assert_array_equal(there.samples, here.samples)


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_of_every_container(make, find_onsets, name):
    path = make(name, video=None, **SOUNDS[name])
    clip = decode(path)
    assert clip.frames is None and clip.times is None
    assert len(clip.samples) / 16000 == pytest.approx(2.0, abs=0.04)
    np.testing.assert_allclose(find_onsets(clip.samples, 16000), [0.5, 1.25], atol=0.005)
    part = decode(path, start=1.0, end=1.5)
    assert len(part.samples) == 8000
    np.testing.assert_allclose(find_onsets(part.samples, 16000), [0.25], atol=0.005)
    info = probe(path)
    assert info.has_audio and not info.has_video and info.frames == 0
    assert info.seconds == pytest.approx(2.0, abs=0.05)


def test_wav_comes_out_as_it_went_in(make, make_beeps):
    path = make("a.wav", video=None, format="wav", audio="pcm_s16le", rate=16000)
    np.testing.assert_allclose(decode(path).samples, make_beeps(2.0, (0.5, 1.25), 16000), atol=1 / 32768)


def test_gif(make, read_numbers):
    path = make("a.gif", format="gif", video="gif", audio=None, pixels="gray", fps=10, frames=12)
    clip = decode(path)
    assert read_numbers(clip.frames) == list(range(12))
    np.testing.assert_allclose(clip.times, np.arange(12) / 10, atol=1e-3)
    assert clip.samples is None
    assert read_numbers(decode(path, start=0.5, end=0.8).frames) == [5, 6, 7]
    assert probe(path).seconds == pytest.approx(1.2, abs=0.02)


def test_animated_webp(tmp_path, read_numbers):
    image = pytest.importorskip("PIL.Image")
    pages = [image.fromarray(np.full((20, 30, 3), 8 + 5 * n, np.uint8)) for n in range(6)]
    path = tmp_path / "a.webp"
    durations = [100, 50, 50, 200, 100, 100]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=durations, lossless=True)
    clip = decode(path)
    assert read_numbers(clip.frames) == list(range(6))
    np.testing.assert_allclose(clip.times, [0.0, 0.1, 0.15, 0.2, 0.4, 0.5])
    assert clip.seconds == pytest.approx(0.6)
    assert read_numbers(decode(path.read_bytes(), fps=5).frames) == [0, 3, 4]
    assert decode(path, short_side=10).frames.shape == (6, 10, 15, 3)
    info = probe(path)
    assert (info.container, info.frames, info.width, info.height) == ("webp", 6, 30, 20)


def test_transparent_webp_lies_on_white(tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.webp"
    image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(path, lossless=True)
    assert (decode(path).frames == 255).all()


def test_no_sound_track_is_none_and_a_silent_one_is_silence(make):
    without = make("without.mp4", audio=None)
    silent = make("silent.mp4", beeps=())
    assert decode(without).samples is None and not probe(without).has_audio
    samples = decode(silent).samples
    assert len(samples) == 32000 and np.abs(samples).max() < 1e-3


@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_channels_are_mixed_down(make, find_onsets, layout):
    clip = decode(make("a.mkv", format="matroska", audio="pcm_s16le", layout=layout))
    np.testing.assert_allclose(find_onsets(clip.samples, 16000), [0.5, 1.25], atol=0.005)
    assert np.abs(clip.samples).max() == pytest.approx(0.5, abs=0.06)


def test_surround_aac_in_mp4(make, find_onsets):
    path = make("a.mp4", layout="5.1")
    assert probe(path).channels == 6
    np.testing.assert_allclose(find_onsets(decode(path).samples, 16000), [0.5, 1.25], atol=0.01)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_resampling_keeps_the_length(make, rate):
    clip = decode(make("a.wav", video=None, format="wav", audio="pcm_s16le", rate=44100), sample_rate=rate)
    assert clip.sample_rate == rate
    assert len(clip.samples) == pytest.approx(2 * rate, abs=2)


def test_cover_picture_is_no_video(make, tmp_path):
    import av

    cover = make("cover.mp4", format="image2", video="mjpeg", audio=None, frames=1, pixels="yuvj420p")
    sound = make("a.mp3", video=None, format="mp3", audio="libmp3lame")
    with av.open(str(tmp_path / "b.mp3"), "w") as out, av.open(str(sound)) as tune, av.open(str(cover)) as picture:
        streams = out.add_stream_from_template(tune.streams[0]), out.add_stream_from_template(picture.streams[0])
        streams[1].disposition = av.stream.Disposition.attached_pic
        for stream, source in zip(streams, (tune, picture), strict=True):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    info = probe(tmp_path / "b.mp3")
    assert info.has_audio and not info.has_video
    assert decode(tmp_path / "b.mp3").frames is None
