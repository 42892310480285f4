"""Decoder of a media file, or a part of it, into frames and samples on one clock.

Both tracks are read in one pass over the file. Time zero is the first frame (or, without video, the first sample), so
sample `n` belongs to time `n / sample_rate` of the video, whatever the container's time stamps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mmvideo.media.audio import SoundTrack
from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.container import (
    MediaError,
    MediaInfo,
    MediaSource,
    Tracks,
    find_tracks,
    is_open_ended,
    is_webp,
    media_errors,
    open_media,
    source_name,
)
from mmvideo.media.containers.damage import Damage
from mmvideo.media.containers.formats import seekable
from mmvideo.media.containers.length import declared_end
from mmvideo.media.frames.displayed import Shown
from mmvideo.media.frames.frame_converter import FrameConverter, pixel_aspect
from mmvideo.media.frames.frame_selection import SLACK, PacketGate, Selection

__all__ = ["Clip", "MediaError", "MediaInfo", "MediaSource", "decode"]

PREROLL = 0.1
"""Seconds of audio decoded before the range: codecs overlap their blocks (Opus asks for 80 ms, RFC 7845, 4.6)."""

SEEK_BACK = (0.0, 2.0, 15.0)
"""Seconds by which a late seek is repeated earlier. After these the file is opened again and read from its start,
because a seek to the start may be late as well (MPEG transport streams)."""

INTERLEAVE = 10.0
"""Seconds by which one track may precede the other in the file; a track without packets for longer has ended."""

MISSING = 0.15
"""Seconds by which an intact file may end before its declared end: a block of audio, and a frame."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A decoded clip.

    Attributes:
      frames: pixels in [0, 255]; None if there is no video, or it was not requested.
      times: start of each frame, in seconds after `start`; for `fps` and `times` the requested times instead.
      samples: mono audio in [-1, 1], from `start`; None if the range has none, or it was not requested. Shorter than
        the video if the audio ends first.
      sample_rate: samples per second.
      seconds: length of the clip: to `end`, or to the end of the longer track.
      damage: every sign that the file ends early or that a part of it could not be decoded, with the numbers that
        disagree; empty for an intact file.
    """

    frames: UInt8[np.ndarray, "T H W 3"] | None
    times: Float[np.ndarray, " T"] | None
    samples: Float[np.ndarray, " S"] | None
    sample_rate: int
    seconds: float
    damage: str = ""

    @property
    def truncated(self) -> bool:
        """True if the file ends early, or a part of it could not be decoded."""
        return bool(self.damage)


def decode(
    source: MediaSource,
    *,
    start: float | int = 0.0,
    end: float | int | None = None,
    fps: float | int | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
    kernel: str = "bicubic",
    sample_rate: int = 16000,
    video: bool = True,
    audio: bool = True,
    deinterlace: bool = True,
    tone_map: bool = True,
    limits: Limits = LIMITS,
) -> Clip:
    """Decode a file's video and audio.

    A frame is shown from its own time until the next one's; the last one stays.

    Args:
      source: a path, or the bytes of a whole file.
      start, end: range in seconds after time zero, exact to the frame and the sample; None is the file's end.
      fps: return the frames shown at `start + k / fps`; None and no `times` returns every frame.
      times: return the frames shown at `start + times`, ascending, and decode no more than they need.
      short_side: length of the shorter side in pixels after a proportional resize.
      size: height and width in pixels after a resize, whatever the proportions.
      kernel: resize kernel, one of `area`, `bilinear`, `bicubic`, `lanczos`, as swscale defines them.
      sample_rate: samples per second of the audio.
      video, audio: whether to decode video and audio.
      deinterlace, tone_map: whether to make whole frames of fields, and to convert HLG and PQ to BT.709.
      limits: limits beyond which a file is refused.

    Returns:
      The clip. A requested track that the file lacks is None; a file with none of the requested tracks is an error.

    Raises:
      MediaError: the file cannot be opened, nothing of it can be decoded, or `start` lies after its end.
      ValueError: the arguments contradict each other.
    """
    _check(start, end, fps, times, sample_rate)
    name, ending = source_name(source), math.inf if end is None else end
    request = _Request(name, start, ending, fps, times, sample_rate, is_open_ended(source), limits)
    plain = FrameConverter(short_side, size, kernel)
    with media_errors(name):
        try:
            if is_webp(source):
                return _decode_webp(source, request, plain, video)
            # If every seek is late, the second pass reads a newly opened file from its start.
            for may_seek in (True, False):
                with open_media(source) as container:
                    tracks = find_tracks(container, name, limits)
                    asked = _asked(container, tracks, name, video, audio)
                    shown = Shown(name, deinterlace, tone_map)
                    painter = FrameConverter(short_side, size, kernel, pixel_aspect(tracks.video), shown)
                    clip = _Reading(container, asked, request, painter).clip(may_seek)
                if clip is not None:
                    return clip
        except MediaError as error:
            # Tracks do not know the name of their file.
            raise error if str(error).startswith(name) else MediaError(f"{name}: {error}") from None
    raise AssertionError("a file that is read from its start gives a clip or an error")


def _asked(container: Any, tracks: Tracks, name: str, video: bool, audio: bool) -> Tracks:
    """Return the requested tracks.

    Raises:
      MediaError: the file has none of them.
    """
    # Audio alone may end before the video without damage, so its own declared end counts.
    ending, sure = tracks.ending, tracks.sure
    if not video:
        ending, sure = declared_end(container, (tracks.audio,), tracks.origin)
    asked = Tracks(tracks.video if video else None, tracks.audio if audio else None, tracks.origin, ending, sure)
    if asked.video is None and asked.audio is None:
        wanted = " or ".join(n for n, on in (("video", video), ("sound", audio)) if on) or "track asked for"
        raise MediaError(f"{name}: has no {wanted}")
    return asked


@dataclasses.dataclass(frozen=True)
class _Request:
    """Request for a file; `end` is infinite for its end."""

    name: str
    start: float | int
    end: float | int
    fps: float | int | None
    times: Sequence[float] | np.ndarray | None
    sample_rate: int
    open_ended: bool
    limits: Limits


class _Reading:
    """A pass over an open container, or several if a seek is late."""

    def __init__(self, container: Any, tracks: Tracks, request: _Request, painter: FrameConverter):
        from av.stream import Discard

        self._container, self._tracks, self._request, self._painter = container, tracks, request, painter
        for stream in container.streams:
            if stream is tracks.video or stream is tracks.audio:
                # One thread each, because many clips are decoded in parallel.
                stream.codec_context.thread_count = 1
            else:
                stream.discard = Discard.all
        self._selection: Selection | None = None
        self._gate: PacketGate | None = None
        self._sound: SoundTrack | None = None
        self._broken = Damage()

    def clip(self, may_seek: bool) -> Clip | None:
        """Read the request; return None if every seek was late, and only a newly opened container is at its start."""
        if not may_seek or self._first_wanted() <= 0 or not seekable(self._container, self._tracks):
            self._prepare(sought=False)
            self._read()
            return self._assemble()
        # Seek to 10 s: if the first frame comes at 10.4 s, try 8 s; then -5 s, before the start, ends seeking.
        for back in SEEK_BACK:
            if not self._seek(self._first_wanted() - back):
                return None
            # A new selection for each attempt: the late one may have kept wrong frames.
            self._prepare(sought=True)
            self._read()
            if not self._late():
                return self._assemble()
        return None

    def _first_wanted(self) -> float:
        """Return the earliest time, in seconds after time zero, that must be decoded."""
        return self._selection_start() if self._tracks.audio is None else self._request.start - PREROLL

    def _seek(self, target: float) -> bool:
        """Seek to a key frame at or before a time; return False if that is the start, or the seek fails."""
        import av

        leader = self._tracks.video or self._tracks.audio
        if target <= 0:
            return False
        try:
            self._container.seek(round((target + self._tracks.origin) / leader.time_base), stream=leader)
        except av.error.FFmpegError:
            return False
        return True

    def _prepare(self, sought: bool) -> None:
        tracks, request = self._tracks, self._request
        self._selection = self._gate = self._sound = None
        if tracks.video is not None:
            self._selection = Selection(
                self._painter, request.start, request.end, request.times, request.fps, request.limits
            )
            self._gate = PacketGate(tracks.video, tracks.origin, self._selection, keyed=sought)
        if tracks.audio is not None:
            ending, _ = declared_end(self._container, (tracks.audio,), tracks.origin)
            reach = (request.start, request.end, request.sample_rate)
            self._sound = SoundTrack(tracks.audio, tracks.origin, ending, *reach, request.open_ended, request.limits)

    def _read(self) -> None:
        """Pass every packet to its track until both tracks have what they need."""
        import av

        video, gate, selection, sound = self._tracks.video, self._gate, self._selection, self._sound
        try:
            for packet in self._container.demux(*(s for s in (video, self._tracks.audio) if s is not None)):
                if packet.stream is video:
                    gate.feed(packet)
                else:
                    sound.feed(packet)
                if (selection is None or selection.done) and (sound is None or sound.done or self._past(packet)):
                    return
        except av.error.FFmpegError as error:
            self._broken.note("stop of the reader", self._last(), error.strerror)
            if gate is not None:
                gate.drain()
        if selection is not None:
            selection.finish()

    def _past(self, packet: Any) -> bool:
        """Return whether a packet is so far after the range that no later packet can belong to it."""
        if self._request.end == math.inf or packet.dts is None:
            return False
        return float(packet.dts * packet.time_base) - self._tracks.origin > self._request.end + INTERLEAVE

    def _late(self) -> bool:
        """Return whether a seek arrived after the first requested frame, or after the first audio of the range."""
        selection, sound = self._selection, self._sound
        if selection is not None and (selection.first is None or selection.first > self._selection_start() + SLACK):
            return True
        if sound is None or sound.begin >= self._request.end or sound.end <= self._request.start:
            return False
        return sound.first is None or sound.first > max(sound.begin, self._request.start) + SLACK

    def _selection_start(self) -> float:
        """Return the time of the first requested frame."""
        request = self._request
        return request.start + (0.0 if request.times is None else float(request.times[0]))

    def _assemble(self) -> Clip:
        request, selection, sound = self._request, self._selection, self._sound
        samples = sound.samples() if sound is not None else None
        last = self._last()
        if last is None:
            reasons = self._reasons()
            raise MediaError(f"{request.name}: nothing of it can be decoded; {reasons or 'it is empty'}")
        # Of a range only its end is decoded, so the declared end gives the length of the file.
        whole = last if request.end == math.inf else max(last, self._tracks.ending or 0.0)
        if request.start > 0 and request.start >= whole - SLACK:
            raise MediaError(f"{request.name}: is {whole:.3f} s long, so nothing begins at start={request.start}")
        frames = times = None
        if selection is not None and selection.painted:
            frames, times = selection.stack()
        return Clip(
            frames=frames, times=times, samples=samples, sample_rate=request.sample_rate,
            seconds=max(0.0, min(request.end, whole) - request.start), damage=self._damage(last),
        )  # fmt: skip

    def _last(self) -> float | None:
        """Return the end of the decoded media, in seconds after time zero; None if nothing was decoded."""
        last = max(t.last for t in (self._selection, self._sound) if t is not None)
        return None if last == -math.inf else last

    def _reasons(self) -> str:
        """Return descriptions of all faults."""
        records = [t.damage for t in (self._gate, self._sound) if t is not None]
        return "; ".join(phrase for damage in (self._broken, *records) for phrase in damage.words())

    def _damage(self, last: float) -> str:
        """Return the faults, and an end well before the declared one, with both lengths."""
        reasons, ending = self._reasons(), self._tracks.ending
        done = all(t.done for t in (self._selection, self._sound) if t is not None)
        # Declared 10 s, decoded 9.9 s: 0.1 s missing is within a block. Decoded 7 s: 3 s missing is damage.
        missing = min(self._request.end, ending or 0.0) - last
        if not reasons and (done or missing <= MISSING):
            return ""
        declared = "no length" if ending is None else f"{ending:.3f} s"
        asked = "" if self._request.end == math.inf else f" of the {self._request.end:.3f} s asked for"
        return (
            f"its headers declare {declared}, {last:.3f} s{asked} can be decoded: {reasons or 'the file is cut short'}"
        )


def _check(start: float | int, end: float | int | None, fps: float | int | None, times: Any, sample_rate: int) -> None:
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"start={start}, end={end}: a range begins at 0 or later and ends after it begins")
    if fps is not None and (fps <= 0 or times is not None):
        raise ValueError(f"fps={fps} must be positive, and excludes times; give one of them")
    if times is not None and (not len(times) or times[0] < 0 or (np.diff(times) < 0).any()):
        raise ValueError("times must be one or more instants, ascending, none below 0")
    if sample_rate < 1:
        raise ValueError(f"sample_rate={sample_rate} must be positive")


def _decode_webp(source: MediaSource, request: _Request, painter: FrameConverter, video: bool) -> Clip:
    from mmvideo.media.frames.webp import webp_frames

    if not video:
        raise MediaError(f"{request.name}: has no sound")
    selection = Selection(painter, request.start, request.end, request.times, request.fps, request.limits)
    for time, seconds, frame in webp_frames(source, request.limits):
        selection.offer(time, seconds, frame)
        if selection.done:
            break
    else:
        selection.finish()
    if request.start > 0 and request.start >= selection.last - SLACK:
        raise MediaError(f"{request.name}: is {selection.last:.3f} s long, so nothing begins at start={request.start}")
    frames, times = selection.stack()
    length = min(request.end, selection.last) - request.start
    return Clip(frames, times, None, request.sample_rate, length)
