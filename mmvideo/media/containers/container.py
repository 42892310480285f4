"""Opening of a media file or its bytes, choice of tracks, and time zero."""

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
"""Bytes at the start of a file within which a WAV header states the position of its samples."""


class MediaError(ValueError):
    """A file that cannot be read or written as media. The message has the file, the reason and a remedy."""


@dataclasses.dataclass(frozen=True)
class MediaInfo:
    """Contents of a file, according to its headers.

    Attributes:
      seconds: length of the longer track, from time zero (see `Tracks.origin`).
      has_video, has_audio: presence of the tracks; a cover image is no video.
      width, height: size of the displayed frame, upright and in square pixels; 0 without video.
      fps: average frames per second, 0.0 without video.
      frames: number of frames, 0 without video.
      sample_rate: samples per second of the audio, 0 without audio.
      channels: channels of the audio, 0 without audio.
      rotation: degrees, anticlockwise, by which the stored frame is turned for display: 0, 90, 180 or 270.
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
    """Tracks that are read: the first video that is no cover image, and the audio flagged as default.

    Attributes:
      video, audio: PyAV streams, None for a missing track.
      origin: time zero in the file's own seconds: the time of the first frame, or of the first audio in a file without
        video. Audio before it is never returned.
      ending: declared end, in seconds after `origin`; None if the file does not declare it.
      sure: whether nothing follows `ending`; otherwise only the packets show the length of the file.
    """

    video: Any
    audio: Any
    origin: float
    ending: float | None
    sure: bool


def source_name(source: MediaSource) -> str:
    """Return the name of a source for messages."""
    return f"media of {len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)


def is_webp(source: MediaSource) -> bool:
    """Return whether the source is a WebP image; FFmpeg decodes only still ones, so Pillow reads them."""
    head = _head(source, 12)
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def is_open_ended(source: MediaSource) -> bool:
    """Return whether the source is a WAV that does not declare its length, such as one written to a pipe."""
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source) if os.path.isfile(source) else 0
    return size > 0 and is_open_ended_wav(_head(source, HEAD), size)


def _head(source: MediaSource, length: int) -> bytes:
    """Return the first bytes of a source, none if it cannot be read."""
    if isinstance(source, bytes):
        return source[:length]
    try:
        with open(source, "rb") as file:
            return file.read(length)
    except OSError:
        return b""


def _told(source: MediaSource) -> str:
    """Describe a file that FFmpeg cannot open."""
    head = _head(source, SHORT)
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
    return what_it_is(head, size, top_boxes(head, size))


@contextlib.contextmanager
def open_media(source: MediaSource) -> Iterator[Any]:
    """Open a source for reading; yield PyAV's input container.

    Raises:
      MediaError: the file does not exist, or FFmpeg does not know its format.
    """
    import av

    name = source_name(source)
    # A pipe or device would block, so only plain files are opened.
    if not isinstance(source, bytes) and not os.path.isfile(source):
        raise MediaError(f"{name}: {'is no plain file' if os.path.exists(source) else 'no such file'}")
    options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
    if is_open_ended(source):
        options["ignore_length"] = "1"
    # Without the prefix, a name such as `concat:a` would be a protocol; without the option, `%d` would be a series of
    # images.
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
    """Return the arguments that allow metadata of any bytes; PyAV from 19 on always allows them, without an
    argument."""
    import av

    return {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


@contextlib.contextmanager
def media_errors(name: str) -> Iterator[None]:
    """Turn any error that a malformed file causes in the libraries into a `MediaError` that names the file."""
    try:
        yield
    except MediaError:
        raise
    # Pillow's decompression bombs are plain exceptions, and PyAV raises many types; programming errors stay as they
    # are.
    except (TypeError, AttributeError, NameError, AssertionError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        raise MediaError(f"{name}: cannot be read ({type(error).__name__}: {words})") from error


def check_limits(width: int, height: int, rate: int | None, limits: Limits, name: str) -> None:
    """Refuse video or audio beyond the limits.

    Raises:
      MediaError: the message has the limit and the value.
    """
    if width * height > limits.pixels:
        raise MediaError(f"{name}: its pictures have {width} x {height} pixels, more than the limit of {limits.pixels}")
    if rate is not None and not limits.lowest_rate <= rate <= limits.highest_rate:
        between = f"{limits.lowest_rate} and {limits.highest_rate}"
        raise MediaError(f"{name}: its sound has {rate} samples a second, the limits are {between}")


def check_time(last: float, time: float, limits: Limits, track: str) -> None:
    """Refuse a time stamp that jumps, or exceeds the longest duration.

    Args:
      last: the time stamp before, minus infinity for none.
      time: the time stamp, in seconds after time zero.
      limits: the limits.
      track: name of the track for the message.

    Raises:
      MediaError: the message has the limit and the value, without the file's name.
    """
    if last > -float("inf") and time - last > limits.gap:
        raise MediaError(
            f"the time stamps of its {track} jump from {last:.3f} s to {time:.3f} s, more than the limit of "
            f"{limits.gap:g} s"
        )
    if time > limits.seconds:
        raise MediaError(f"its {track} reaches {time:.3f} s, more than the limit of {limits.seconds:g} s")


def find_tracks(container: Any, name: str, limits: Limits = LIMITS) -> Tracks:
    """Choose the tracks of an open container: of each type the one flagged as default, else the first.

    Raises:
      MediaError: it has neither video nor audio, or they exceed the limits.
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
    # A transport stream may start at 1.4 s on its own clock: that is time zero here.
    origin = float(leader.start_time * leader.time_base) if leader.start_time is not None else 0.0
    return Tracks(video, audio, origin, *declared_end(container, (video, audio), origin))
