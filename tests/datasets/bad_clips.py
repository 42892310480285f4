"""Clips for builds that must not be stopped: whole ones in many containers, and bad ones, each of a kind of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FPS, RATE, SECONDS = 12, 16000, 1

WHOLE = {
    "h264.mp4": ("mp4", "libx264", "aac"),
    "silent.mp4": ("mp4", "libx264", None),
    "mpeg4.avi": ("avi", "mpeg4", "pcm_s16le"),
    "flac.mkv": ("matroska", "libx264", "flac"),
    "vp8.webm": ("webm", "libvpx", "libopus"),
    "vp9.webm": ("webm", "libvpx-vp9", "libopus"),
    "quick.mov": ("mov", "libx264", "aac"),
    "sound.wav": ("wav", None, "pcm_s16le"),
    "sound.flac": ("flac", None, "flac"),
    "sound.m4a": ("mp4", None, "aac"),
}
"""Container, video and audio codec of each whole clip, by its name."""


def write_clip(path: Path, container: str, video: str | None, audio: str | None, number: int = 0) -> None:
    """Writes a second of moving noise and of a tone."""
    import av

    rate = 48000 if audio == "libopus" else RATE
    with av.open(str(path), "w", format=container) as out:
        picture = sound = None
        if video:
            picture = out.add_stream(video, rate=FPS)
            picture.width, picture.height, picture.pix_fmt, picture.gop_size = 48, 32, "yuv420p", 6
        if audio:
            sound = out.add_stream(audio, rate=rate, layout="mono")
        for item in _packets(picture, sound, rate, number):
            out.mux(item)


def _packets(picture: Any, sound: Any, rate: int, number: int) -> Iterator[Any]:
    import av

    draw = np.random.default_rng(number)
    if picture is not None:
        for place in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(draw.integers(0, 255, (32, 48, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, FPS)
            yield picture.encode(frame)
        yield picture.encode(None)
    if sound is not None:
        tone = 0.3 * np.sin(2 * np.pi * (300 + 20 * number) * np.arange(rate * SECONDS) / rate)
        frame = av.AudioFrame.from_ndarray((32767 * tone[None]).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        yield sound.encode(frame)
        yield sound.encode(None)


def _half(folder: Path, source: str) -> bytes:
    content = (folder / source).read_bytes()
    return content[: len(content) // 2]


def _rotten_middle(folder: Path) -> bytes:
    """A film whose packets were overwritten, with its index whole."""
    content = bytearray((folder / "h264.mp4").read_bytes())
    start = content.index(b"mdat") + 64
    content[start : start + (len(content) - start) // 2] = b"\0" * ((len(content) - start) // 2)
    return bytes(content)


def _wav(rate: int, samples: bytes) -> bytes:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + struct.pack("<4sI", b"data", len(samples)) + samples


def _late_stamp(folder: Path) -> bytes:
    """A Flash video of which one audio packet is stamped two days late."""
    path = folder / "late.flv"
    write_clip(path, "flv", "flv", "aac")
    content, place, sounds = bytearray(path.read_bytes()), 13, 0
    while place + 11 < len(content):
        size = int.from_bytes(content[place + 1 : place + 4], "big")
        sounds += content[place] == 8
        if sounds == 6:
            late = int.from_bytes(content[place + 4 : place + 7], "big") + 2 * 24 * 3600 * 1000
            content[place + 4 : place + 8] = (late & 0xFFFFFF).to_bytes(3, "big") + bytes([late >> 24])
            break
        place += 11 + size + 4
    return bytes(content)


def _gif(side: int) -> bytes:
    """One pixel on a canvas of `side` by `side`."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = bytes.fromhex("21f904040200000" + "02c0000000001000100000002024401" + "00")
    return head + frame + frame + b";"


def _large_png(_: Path) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (16000, 16000)).save(buffer, "PNG")
    return buffer.getvalue()


Content = Callable[[Path], bytes]

BAD: dict[str, Content] = {
    "words.mp4": lambda _: b"this is no film, and never was one",
    "page.webm": lambda _: b"<!doctype html><title>404</title><p>not found",
    "empty.wav": lambda _: b"",
    "noise.mkv": lambda _: np.random.default_rng(0).bytes(20_000),
    "half.mp4": lambda folder: _half(folder, "h264.mp4"),
    "half.flac": lambda folder: _half(folder, "sound.flac"),
    "rotten.mp4": _rotten_middle,
    "mute.wav": lambda _: _wav(16000, b""),
}
"""Files that can't be read, by name: how each is made in a folder that holds the whole clips."""

WAITING: dict[str, Content] = {
    "canvas.gif": lambda _: _gif(16000),
    "canvas.png": _large_png,
    "late_stamp.flv": _late_stamp,
    "one_hertz.wav": lambda _: _wav(1, b"\0\0" * 32000),
    "playlist.mp4": lambda _: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nh264.mp4\n#EXT-X-ENDLIST\n",
    "list.mp4": lambda _: b"ffconcat version 1.0\nfile h264.mp4\n",
    "session.mp4": lambda _: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "words.txt": lambda _: b"a plain text that decodes as a terminal\n" * 40,
}
"""Files that are refused by the limits of `mmvideo.media` and by its list of demuxers alone."""

ROWS: dict[str, dict[str, Any]] = {
    "cut outside": {"start": 30.0, "end": 34.0},
    "moment behind the end": {"moments": [[5.0, 6.0]], "captions": ["late"]},
    "half a character": {"captions": ["a dog \ud83d"]},
    "half a tag": {"tags": ["\udc36"]},
}
"""What is wrong with the row of a whole clip, by the clip's id."""


def write_source(folder: Path, good: int, bad: dict[str, Content]) -> list[dict[str, Any]]:
    """Writes clips into a folder and gives the rows of a manifest of them: bad ones among so many good ones."""
    for number, (name, parts) in enumerate(WHOLE.items()):
        write_clip(folder / name, *parts, number)
    names = list(WHOLE)
    rows = [
        {"id": f"good {number}", "media": names[number % len(names)], "captions": [f"clip {number}"]}
        | ({"split": "test"} if number % 10 == 9 else {})
        for number in range(good)
    ]
    for name, content in bad.items():
        (folder / name).write_bytes(content(folder))
    wrong = [{"id": name, "media": name} for name in bad]
    wrong += [{"id": name, "media": names[0], **row} for name, row in ROWS.items()]
    # Between the good ones, so that every shard has some.
    for place, row in enumerate(wrong):
        rows.insert((place * (good + len(wrong))) // len(wrong), row)
    return rows
