"""Selection of the requested frames of a video track, and of the packets needed to decode them.

Only requested content is processed: a group of pictures without a requested frame is never decoded, and a frame that is
not requested is never converted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.container import MediaError, check_time
from mmvideo.media.containers.damage import Damage
from mmvideo.media.frames.displayed import picture_decoder
from mmvideo.media.frames.frame_converter import FrameConverter

SLACK = 1e-3
"""Seconds by which a frame may start after the requested time; Matroska rounds its times to milliseconds."""


class Selection:
    """Selection of the requested frames of a track, offered in order of time, and converted when kept.

    Args:
      painter: converts the frames that are kept.
      start, end: range, in seconds after time zero; `end` may be infinite.
      times: requested times after `start`, ascending; None requests every frame that starts in the range (and if none
        does, the one shown at `start`).
      fps: requested times `k / fps` after `start` instead, to the end of the range or of the track.
    """

    def __init__(
        self,
        painter: FrameConverter,
        start: float | int,
        end: float | int,
        times: Sequence[float] | np.ndarray | None,
        fps: float | int | None,
        limits: Limits = LIMITS,
    ):
        self._limits, self._stamp = limits, -math.inf
        self._painter, self._start, self._end, self._fps = painter, start, end, fps
        self._instants = None if times is None else [start + t for t in times]
        self._every = times is None and fps is None
        self._count = len(times) if times is not None else math.inf
        if fps is not None and end < math.inf:
            self._count = grid_count(end - start, fps)
        self._showing: Any = None
        self._showing_painted = False
        self.first: float | None = None
        self.last = -math.inf
        self.painted: list[Any] = []
        self.shown: list[int] = []
        self.times: list[float] = []
        self.done = False

    @property
    def next(self) -> float:
        """Time before which no requested frame ends, in seconds after time zero."""
        if not self._every:
            return self._instant(len(self.shown))
        return self._start if self.first is None or self.last < self._start else -math.inf

    def _instant(self, number: int) -> float:
        # At 8 frames a second from 2 s on, request 3 is at 2.375 s.
        if self._instants is None:
            return self._start + number / self._fps
        return self._instants[number] if number < len(self._instants) else math.inf

    def offer(self, time: float, duration: float, frame: Any) -> None:
        """Process the next decoded frame, which starts at `time`, in seconds after time zero.

        Raises:
          MediaError: its time stamp jumps, or the kept frames exceed the limits.
        """
        check_time(self._stamp, time, self._limits, "picture")
        self._stamp = time
        if self.first is None:
            self.first, self._showing = time, frame
        if self._every:
            self._offer_every(time, frame)
        else:
            self._show_until(time - SLACK)
            self.done = len(self.shown) >= self._count
        if self._showing is not frame:
            self._showing, self._showing_painted = frame, False
        self.last = max(self.last, time + duration)
        if self._showing_bytes() > self._limits.frame_bytes:
            raise MediaError(
                f"its {len(self.shown)} frames take more than the limit of {self._limits.frame_bytes} bytes; ask for "
                "a range, fewer times or smaller pictures"
            )

    def _showing_bytes(self) -> int:
        """Return the bytes of the frames to return, as far as known."""
        return len(self.shown) * 3 * self.painted[0].width * self.painted[0].height if self.painted else 0

    def _offer_every(self, time: float, frame: Any) -> None:
        if time >= self._end - SLACK:
            self.done = True
            self._hold()
        elif time >= self._start - SLACK:
            self.painted.append(self._painter.paint(frame))
            self.shown.append(len(self.shown))
            self.times.append(time - self._start)

    def _hold(self) -> None:
        """Keep the frame shown at the start of the range if no frame starts in the range."""
        if not self.painted:
            self.painted, self.shown, self.times = [self._painter.paint(self._showing)], [0], [0.0]

    def _show_until(self, time: float) -> None:
        """Keep the frame now shown for each requested time before `time`."""
        # Frames at 0 and 0.5 s, requested 0, 0.2 and 0.6 s: the frame at 0.5 arrives, the one at 0 is converted once
        # for 0 and 0.2, and shown is [0, 0].
        while len(self.shown) < self._count and self._instant(len(self.shown)) < time:
            if not self._showing_painted:
                self.painted.append(self._painter.paint(self._showing))
                self._showing_painted = True
            self.times.append(self._instant(len(self.shown)) - self._start)
            self.shown.append(len(self.painted) - 1)

    def finish(self) -> None:
        """End the selection: the last frame stays, for `fps` to the end of the range or its own."""
        if self._showing is None or self.done:
            return
        if self._every:
            self._hold()
            return
        if self._fps is not None:
            length = min(self.last, self._end) - self._start
            self._count = min(self._count, max(1, grid_count(length, self._fps)))
        self._show_until(math.inf)
        self.done = True

    def stack(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the requested frames, uint8 `[T, H, W, 3]`, and their times in seconds after `start`, `[T]`."""
        frames = self._painter.stack(self.painted)
        if len(self.painted) != len(self.shown):
            frames = frames[np.array(self.shown)]
        return frames, np.array(self.times, np.float64)


def grid_count(seconds: float | int, fps: float | int) -> int:
    """Return the number of times `k / fps` in `[0, seconds)`, tolerant to rounding of the last."""
    return max(0, math.ceil((seconds - SLACK) * fps))


class PacketGate:
    """Gate that passes a video track's packets to its decoder only if a requested frame depends on them.

    Packets are held back until one arrives that is shown after the next requested time. If a key frame shown no later
    comes before that, the held packets are dropped undecoded.

    Args:
      stream: the video track.
      origin: time zero in the file's seconds.
      selection: receives the frames.
      keyed: whether to start at the first key frame, as after a seek.
    """

    def __init__(self, stream: Any, origin: float, selection: Selection, keyed: bool):
        self._decoder, self._origin, self._selection = picture_decoder(stream), origin, selection
        self._tick = float(stream.time_base)
        self._spacing = 1.0 / float(stream.average_rate or stream.guessed_rate or 25)
        self._held: list[Any] = []
        self._begun, self._fed = not keyed, False
        self._floor = -math.inf
        self._last = -math.inf
        self.damage = Damage()

    @property
    def begun(self) -> bool:
        """True after the first key frame."""
        return self._begun

    def feed(self, packet: Any) -> None:
        """Process the track's next packet; an empty one is the end of the track."""
        if not packet.size:
            self.drain()
            return
        shown = None if packet.pts is None else packet.pts * self._tick - self._origin
        if not self._begun:
            if not packet.is_keyframe:
                return
            self._begun = True
            # Leading frames of an open group depend on a frame before the seek, so they are dropped.
            self._floor = -math.inf if shown is None else shown
        if packet.is_corrupt:
            self.damage.note("packets of the picture are marked as damaged by the container", shown)
        # Next requested 5.0 s, key frames at 0, 2, 4 and 6 s: the groups of 0 and 2 are dropped at the next key frame,
        # and decoding starts with the key frame at 4 s once a packet after 5 s arrives.
        if shown is None or shown > self._selection.next + SLACK:
            self._decode_held()
            self._decode(packet)
        elif packet.is_keyframe:
            # The decoder still holds frames of the dropped group: flush them.
            if self._fed:
                self._decoder.flush_buffers()
                self._fed = False
            self._held = [packet]
            self._floor = shown
        else:
            self._held.append(packet)

    def drain(self) -> None:
        """Decode the held packets and the frames left in the decoder at the end of the track."""
        self._decode_held()
        if self._fed and not self._selection.done:
            self._decode(None)

    def _decode_held(self) -> None:
        held, self._held = self._held, []
        for packet in held:
            self._decode(packet)

    def _after(self) -> float:
        """Return the time of a frame without a time stamp."""
        return 0.0 if self._last == -math.inf else self._last + self._spacing

    def _decode(self, packet: Any) -> None:
        import av

        if self._selection.done:
            return
        self._fed = True
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError as error:
            stamp = None if packet is None or packet.pts is None else packet.pts * self._tick - self._origin
            self.damage.note("packets of the picture cannot be decoded", stamp, error.strerror)
            return
        for frame in frames:
            # Not `frame.time`: frames drained from a decoder have no time base.
            time = self._after() if frame.pts is None else frame.pts * self._tick - self._origin
            # Demuxers of programme streams guess the time stamps of some frames, and may guess the same one twice.
            time = self._after() if time <= self._last else time
            self._last = time
            self._spacing = frame.duration * self._tick or self._spacing
            if time >= self._floor - SLACK and not self._selection.done:
                self._selection.offer(time, self._spacing, frame)
