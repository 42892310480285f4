"""Every range of every container and codec is that range of a read from the start."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.media.decode import decode
from mmvideo.media.probe import probe

VIDEOS = {
    "h264.ts": dict(format="mpegts", video="libx264", audio="aac"),
    "hevc.ts": dict(format="mpegts", video="libx265", audio="ac3", b_frames=2),
    "mpeg2.ts": dict(format="mpegts", video="mpeg2video", audio="mp2", fps=25, b_frames=2),
    "mpeg4.ts": dict(format="mpegts", video="mpeg4", audio="libmp3lame"),
    "h264.m2ts": dict(format="mpegts", video="libx264", audio="ac3", options={"mpegts_m2ts_mode": "1"}),
    "hevc.m2ts": dict(format="mpegts", video="libx265", audio="ac3", options={"mpegts_m2ts_mode": "1"}),
    "mpeg2.vob": dict(format="vob", video="mpeg2video", audio="ac3", fps=25, b_frames=2, textured=True),
    "mpeg2.mpg": dict(format="mpeg", video="mpeg2video", audio="mp2", fps=25, b_frames=2, textured=True),
    "mpeg1.mpg": dict(format="mpeg", video="mpeg1video", audio="mp2", fps=25, textured=True),
    "h264.vob": dict(format="vob", video="libx264", audio="mp2", b_frames=0),
    "hevc.mkv": dict(format="matroska", video="libx265", audio="flac", b_frames=2),
    "open.mkv": dict(format="matroska", video="libx264", audio="libopus", open_gop=True),
    "mpeg4.flv": dict(format="flv", video="libx264", audio="aac"),
    "mpeg2.mxf": dict(format="mxf", video="mpeg2video", audio="pcm_s16le", fps=25, b_frames=2),
    "wmv.asf": dict(format="asf", video="wmv2", audio="wmav2", layout="stereo"),
    "h264.nut": dict(format="nut", video="libx264", audio="libopus"),
    "vp8.ogv": dict(format="ogg", video="libvpx", audio="libopus"),
}

SOUNDS = {
    "flac.oga": dict(format="ogg", audio="flac", rate=16000),
    "opus.oga": dict(format="ogg", audio="libopus"),
    "adpcm_ms.wav": dict(format="wav", audio="adpcm_ms"),
    "adpcm_ima.wav": dict(format="wav", audio="adpcm_ima_wav"),
    "float.w64": dict(format="w64", audio="pcm_f32le"),
    "wma.asf": dict(format="asf", audio="wmav2", layout="stereo"),
    "aac.ts": dict(format="mpegts", audio="aac"),
    "ac3.ac3": dict(format="ac3", audio="ac3"),
    "alac.m4a": dict(format="ipod", audio="alac"),
}


DISTANT = (0.3, 1.0, 1.3, 2.1, 2.6, 3.4)
"""Times of bursts; no two distances between neighbours are equal."""


@pytest.mark.parametrize("gop", [12, 1000], ids=["groups", "one_group"])
@pytest.mark.parametrize("name", VIDEOS)
def test_every_range_is_that_range_of_the_whole(make, read_numbers, find_onsets, name, gop):
    recipe = VIDEOS[name]
    fps = recipe.get("fps", 12)
    path = make(name, frames=48, gop=gop, beeps=DISTANT if fps == 12 else (0.3, 1.0, 1.3), **recipe)
    whole = decode(path)
    assert read_numbers(whole.frames) == list(range(48)) and not whole.truncated
    for first in (1, 5, 12, 13, 30, 45):
        for audio in (True, False):
            clip = decode(path, start=first / fps, end=(first + 3) / fps, audio=audio)
            assert read_numbers(clip.frames) == list(range(first, min(first + 3, 48)))
            assert not clip.truncated
        heard = find_onsets(decode(path, start=first / fps).samples, 16000)
        later = [time - first / fps for time in find_onsets(whole.samples, 16000)]
        # A burst that is cut in two begins at the start.
        np.testing.assert_allclose([t for t in heard if t > 0.06], [t for t in later if t > 0.06], atol=2.1e-3)
    assert probe(path).frames == 48


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_after_a_seek_keeps_its_place(make, find_onsets, name):
    path = make(name, video=None, frames=96, beeps=(0.3, 1.0, 2.3, 3.1, 4.6, 6.4, 7.3, 7.6), **SOUNDS[name])
    whole = decode(path).samples
    for start in (0.5, 2.0, 4.0, 6.0, 7.0, 7.5):
        part = decode(path, start=start, end=start + 1.0).samples
        later = [time - start for time in find_onsets(whole, 16000) if start <= time < start + 1]
        np.testing.assert_allclose(find_onsets(part, 16000), later, atol=2.1e-3)


def test_a_transport_stream_of_one_group_has_its_pictures(make, read_numbers):
    """A seek in it comes out after its only key frame, even one to its start."""
    path = make("a.ts", format="mpegts", gop=1000)
    for source in (path, path.read_bytes()):
        assert read_numbers(decode(source, start=0.5, times=[0.0, 0.5, 1.0]).frames) == [6, 12, 18]


def test_the_last_page_of_flac_in_ogg_keeps_its_place(tmp_path):
    """After a seek its demuxer stamps that page too early; a tone, as silence would fit on one page."""
    import av

    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 1500, 64000)) / 16000).astype(np.float32)
    with av.open(str(tmp_path / "a.oga"), "w", format="ogg") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        for at in range(0, 64000, 4096):
            piece = (tone[None, at : at + 4096] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for start in (1.0, 2.5, 3.0, 3.5):
        part = decode(tmp_path / "a.oga", start=start).samples
        np.testing.assert_allclose(part, tone[round(start * 16000) :], atol=1e-4)
