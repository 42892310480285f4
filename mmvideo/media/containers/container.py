"""Open a media file or its bytes, choose its tracks and place time zero."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator
from typing import Any

from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.formats import DEMUXERS, is_open_ended_wav
from mmvideo.media.containers.length import declared_end
from mmvideo.media.containers.not_media import SHORT, top_boxes, what_it_is

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
    """The tracks that are read: the first video that is no cover picture and the sound that is flagged default.

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


def _told(source: MediaSource) -> str:
    """What a file is that FFmpeg cannot open."""
    head = _head(source, SHORT)
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
    return what_it_is(head, size, top_boxes(head, size))


@contextlib.contextmanager
def open_media(source: MediaSource) -> Iterator[Any]:
    """Open a source for reading; yields PyAV's input container.

    Raises:
      MediaError: no such file, or nothing that FFmpeg knows.
    """
    import av

    name = source_name(source)
    if not isinstance(source, bytes) and not os.path.isfile(source):
        raise MediaError(f"{name}: {'is no plain file' if os.path.exists(source) else 'no such file'}")
    options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
    if is_open_ended(source):
        options["ignore_length"] = "1"
    # Without a protocol a name such as `concat:a` would be one; a number in it would be a series of pictures.
    if not isinstance(source, bytes):
        options["pattern_type"] = "none"
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{name}"
    try:
        container = av.open(file, options=options, **_lenient())
    except av.error.FFmpegError as error:
        raise MediaError(f"{name}: cannot be opened as media ({error.strerror}); {_told(source)}") from None
    with container:
        yield container


def _lenient() -> dict[str, str]:
    """Return the arguments that let metadata be of any bytes; from 19 on PyAV always does, and has none."""
    import av

    return {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


@contextlib.contextmanager
def media_errors(name: str) -> Iterator[None]:
    """Turn whatever a hostile file makes the libraries raise into a `MediaError` that names the file."""
    try:
        yield
    except MediaError:
        raise
    # Pillow's bombs are plain exceptions, PyAV raises half of Python's; mistakes of ours stay what they are.
    except (TypeError, AttributeError, NameError, AssertionError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        raise MediaError(f"{name}: cannot be read ({type(error).__name__}: {words})") from error


def check_limits(width: int, height: int, rate: int | None, limits: Limits, name: str) -> None:
    """Refuse a picture or a sound beyond the limits.

    Raises:
      MediaError: says which limit, and both numbers.
    """
    if width * height > limits.pixels:
        raise MediaError(f"{name}: its pictures have {width} x {height} pixels, more than the limit of {limits.pixels}")
    if rate is not None and not limits.lowest_rate <= rate <= limits.highest_rate:
        between = f"{limits.lowest_rate} and {limits.highest_rate}"
        raise MediaError(f"{name}: its sound has {rate} samples a second, the limits are {between}")


def check_time(last: float, time: float, limits: Limits, track: str) -> None:
    """Refuse a time stamp that jumps, or lies beyond the longest film.

    Args:
      last: the stamp before, minus infinity for none.
      time: the stamp, in seconds after time zero.
      limits: the limits.
      track: how the message calls the track.

    Raises:
      MediaError: says which limit, and both numbers; without the file's name.
    """
    if last > -float("inf") and time - last > limits.gap:
        raise MediaError(
            f"the time stamps of its {track} jump from {last:.3f} s to {time:.3f} s, more than the limit of "
            f"{limits.gap:g} s"
        )
    if time > limits.seconds:
        raise MediaError(f"its {track} reaches {time:.3f} s, more than the limit of {limits.seconds:g} s")


def find_tracks(container: Any, name: str, limits: Limits = LIMITS) -> Tracks:
    """Choose the tracks of an open container: of each kind the one flagged as default, else the first.

    Raises:
      MediaError: it has neither picture nor sound, or they lie beyond the limits.
    """
    from av.stream import Disposition

    streams = [s for s in container.streams if getattr(s, "codec_context", None) is not None]
    video = next((s for s in streams if s.type == "video" and not s.disposition & Disposition.attached_pic), None)
    sounds = [s for s in streams if s.type == "audio"]
    audio = next((s for s in sounds if s.disposition & Disposition.default), sounds[0] if sounds else None)
    if video is None and audio is None:
        raise MediaError(f"{name}: has neither a picture nor a sound track")
    leader = video or audio
    width, height = (video.width, video.height) if video is not None else (0, 0)
    check_limits(width, height, audio.codec_context.sample_rate if audio is not None else None, limits, name)
    for stream in (video, audio):
        if stream is not None and not stream.codec_context.is_open:
            stream.codec_context.options = {"max_pixels": str(limits.pixels)}
    origin = float(leader.start_time * leader.time_base) if leader.start_time is not None else 0.0
    return Tracks(video, audio, origin, *declared_end(container, (video, audio), origin))
