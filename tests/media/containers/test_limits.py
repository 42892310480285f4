"""Files that ask for too much, open others, or break a library: one `MediaError` that names the file."""

from __future__ import annotations

import resource
import struct
from fractions import Fraction

import numpy as np
import pytest

from mmvideo.media.config import Limits
from mmvideo.media.containers.container import find_tracks, media_errors, open_media
from mmvideo.media.decode import MediaError, decode
from mmvideo.media.probe import probe
from mmvideo.media.transcode import transcode


def gif(width, height):
    """A gif of one picture that declares its size, with next to no data."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    return head + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;"


def wav(rate, samples=32000):
    fmt = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF\0\0\0\0WAVEfmt " + fmt + b"data" + struct.pack("<I", 2 * samples) + bytes(2 * samples)


def jumping(path, format, kind, seconds):
    """Two seconds of picture and sound; from the middle on the stamps of one track are so much later."""
    import av

    with av.open(str(path), "w", format=format) as container:
        picture, sound = (
            container.add_stream("libx264", rate=10),
            container.add_stream("aac", rate=16000, layout="mono"),
        )
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.codec_context.max_b_frames = 0
        packets = []
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 + 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            packets += picture.encode(frame.reformat(format="yuv420p"))
        packets += picture.encode(None)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        resampler = av.AudioResampler(sound.format, "mono", 16000, 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            packets += sound.encode(piece)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            if packet.stream.type == kind and packet.dts * packet.time_base >= 1:
                late = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
            container.mux(packet)
    return path


@pytest.mark.parametrize("read", [probe, decode, transcode])
def test_a_picture_beyond_the_limit_takes_no_memory(tmp_path, read):
    (tmp_path / "bomb.gif").write_bytes(gif(16000, 16000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaError, match=r"bomb.gif: its pictures have 16000 x 16000 pixels, more than the limit"):
        read(tmp_path / "bomb.gif")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_a_rate_that_no_sound_has(rate):
    with pytest.raises(MediaError, match=f"has {rate} samples a second, the limits are 1000 and 768000"):
        probe(wav(rate))
    assert probe(wav(8000)).sample_rate == 8000


def test_a_file_beyond_the_longest_film():
    content = wav(8000, 80000)
    with pytest.raises(MediaError, match=r"lasts 10.000 s, more than the limit of 5 s"):
        probe(content, Limits(seconds=5.0))
    with pytest.raises(MediaError, match=r"reaches \d.\d+ s, more than the limit of 5 s"):
        decode(content, limits=Limits(seconds=5.0))
    assert decode(content).seconds == pytest.approx(10.0)


@pytest.mark.parametrize("kind", ["audio", "video"])
@pytest.mark.parametrize("format", ["flv", "matroska", "nut"])
@pytest.mark.parametrize("fps", [None, 25])
def test_a_stamp_that_jumps_does_not_stretch_time(tmp_path, kind, format, fps):
    path = jumping(tmp_path / "jump", format, kind, 172_800)
    with pytest.raises(MediaError, match=r"jump: the time stamps of its \w+ jump from [012].\d+ s to 17280\d.\d+ s"):
        decode(path, fps=fps)
    with pytest.raises(MediaError, match="more than the limit of 28800 s"):
        probe(path)
    # An hour between two slides is no jump.
    if kind == "video":
        assert decode(jumping(tmp_path / "slow", format, kind, 1800), audio=False).frames.shape[0] == 20


def test_frames_beyond_the_bytes_allowed(make):
    path = make("a.mp4")
    limits = Limits(frame_bytes=12 * 48 * 64 * 3)
    with pytest.raises(MediaError, match="a.mp4: its 13 frames take more than the limit"):
        decode(path, limits=limits)
    assert len(decode(path, limits=limits, end=1.0).frames) == 12


@pytest.mark.parametrize("read", [probe, decode, transcode])
def test_only_the_file_itself_is_opened(make, tmp_path, read, monkeypatch):
    import socket

    opened = []
    monkeypatch.setattr(socket, "socket", lambda *a, **k: opened.append(a))
    make("a.ts", format="mpegts")
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\na.ts\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile a.ts\n",
        "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "a.txt": "a plain text\n" * 200,
        "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        for source in (tmp_path / name, text.encode()):
            with pytest.raises(MediaError, match="cannot be opened as media|has neither"):
                read(source)
    assert not opened


def test_names_that_look_like_protocols_or_series(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4", "a%03d.mp4", "data:a.mp4", "-i.mp4", "ä b#?.mp4"):
        assert probe(make(name, audio=None)).frames == 24
        assert len(decode(name).frames) == 24


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("x"), RuntimeError("x"), OSError("x"), EOFError()])
def test_whatever_a_library_raises_becomes_one_error(error):
    with pytest.raises(MediaError, match=f"a.mp4: cannot be read .{type(error).__name__}"), media_errors("a.mp4"):
        raise error


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(TypeError), media_errors("a.mp4"):
        raise TypeError


@pytest.mark.slow(reason="writes 256 million pixels: fewer are within the limit")
def test_a_webp_bomb(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (16000, 16000)).save(tmp_path / "a.webp", lossless=True, method=0)
    with pytest.raises(MediaError, match="a.webp: "):
        probe(tmp_path / "a.webp")


def test_the_sound_that_is_flagged_default_is_taken(tmp_path):
    import av
    from av.stream import Disposition

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(3)]
        for stream, flag in zip(streams, (0, Disposition.default, 0), strict=True):
            stream.disposition = flag
        for level, stream in enumerate(streams, 1):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), 3276 * level, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux(stream.encode(frame))
    np.testing.assert_allclose(decode(tmp_path / "a.mkv").samples[100:-100], 0.2, atol=1e-3)
    with open_media(tmp_path / "a.mkv") as container:
        assert find_tracks(container, "a").audio.index == 1
