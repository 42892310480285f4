"""Open a media file or its bytes, choose its tracks and place time zero."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator
from typing import Any

from mmvideo.media.formats import is_open_ended_wav
from mmvideo.media.length import declared_end

MediaSource = str | os.PathLike | bytes
"""A path, or the bytes of a whole file."""

HEAD = 1 << 16
"""Bytes at the start of a file in which a wav says where its samples are."""


class MediaError(ValueError):
    """A file that cannot be read or written as media. The message names the file, the reason and a way out."""


@dataclasses.dataclass(frozen=True)
class MediaInfo:
    """What a file holds, as its headers say it.

    Attributes:
      seconds: length of the longer track, counted from time zero (see `Tracks.origin`).
      has_video, has_audio: which tracks there are; a cover picture is no video.
      width, height: of the picture as it is shown, upright and in square pixels; 0 without video.
      fps: frames a second on average, 0.0 without video.
      frames: number of frames, 0 without video.
      sample_rate: samples a second of the sound, 0 without sound.
      channels: channels of the sound, 0 without sound.
      rotation: degrees, anticlockwise, by which the stored picture is turned for display: 0, 90, 180 or 270.
      container: FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    """

    seconds: float
    has_video: bool
    has_audio: bool
    width: int
    height: int
    fps: float
    frames: int
    sample_rate: int
    channels: int
    rotation: int
    container: str


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The tracks that are read: the first video that is no cover picture and the first sound.

    Attributes:
      video, audio: PyAV streams, None where the file has no such track.
      origin: time zero in the file's own seconds: the first picture's time, or the first sound's in
        a file without video. Sound from before it is never heard.
      ending: the declared end, in seconds after `origin`; None when the file does not say.
      sure: there is nothing after `ending`; otherwise only packets tell how long the file is.
    """

    video: Any
    audio: Any
    origin: float
    ending: float | None
    sure: bool


def source_name(source: MediaSource) -> str:
    """How messages call a source."""
    return f"media of {len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)


def is_webp(source: MediaSource) -> bool:
    """Whether the source is a WebP picture; FFmpeg decodes only still ones, so they go to Pillow."""
    head = _head(source, 12)
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def is_open_ended(source: MediaSource) -> bool:
    """Whether the source is a wav that does not say how long it is, as those written to a pipe."""
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source) if os.path.isfile(source) else 0
    return size > 0 and is_open_ended_wav(_head(source, HEAD), size)


def _head(source: MediaSource, length: int) -> bytes:
    """First bytes of a source, none if it cannot be read."""
    if isinstance(source, bytes):
        return source[:length]
    try:
        with open(source, "rb") as file:
            return file.read(length)
    except OSError:
        return b""


@contextlib.contextmanager
def open_media(source: MediaSource) -> Iterator[Any]:
    """Open a source for reading; yields PyAV's input container.

    Raises:
      MediaError: no such file, or nothing that FFmpeg knows.
    """
    import av

    name = source_name(source)
    if not isinstance(source, bytes) and not os.path.isfile(source):
        raise MediaError(f"{name}: no such file")
    options = {"ignore_length": "1"} if is_open_ended(source) else {}
    file = io.BytesIO(source) if isinstance(source, bytes) else name
    try:
        container = av.open(file, metadata_errors="replace", options=options)
    except av.error.FFmpegError as error:
        raise MediaError(f"{name}: cannot be opened as media ({error.strerror}); is it whole, and media?") from None
    with container:
        yield container


def find_tracks(container: Any, name: str) -> Tracks:
    """Choose the tracks of an open container.

    Raises:
      MediaError: it has neither picture nor sound.
    """
    from av.stream import Disposition

    streams = [s for s in container.streams if getattr(s, "codec_context", None) is not None]
    video = next((s for s in streams if s.type == "video" and not s.disposition & Disposition.attached_pic), None)
    audio = next((s for s in streams if s.type == "audio"), None)
    if video is None and audio is None:
        raise MediaError(f"{name}: has neither a picture nor a sound track")
    leader = video or audio
    origin = float(leader.start_time * leader.time_base) if leader.start_time is not None else 0.0
    return Tracks(video, audio, origin, *declared_end(container, (video, audio), origin))
