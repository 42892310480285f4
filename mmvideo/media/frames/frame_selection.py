"""Which frames of a video track are wanted, and which packets must be decoded to get them.

Only what is wanted is worked on: a group of pictures that shows nothing wanted is never decoded, and
a frame that is not wanted is never converted.
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
"""Seconds by which a frame may come after the time asked for; Matroska rounds its times to milliseconds."""


class Selection:
    """Takes the frames of a track in the order of their times and keeps, painted, those that are wanted.

    Args:
      painter: converts the frames that are kept.
      start, end: the range, in seconds after time zero; `end` may be infinite.
      times: instants after `start` whose frames are wanted, ascending; None wants every frame that
        begins in the range (and if none does, the one on show at `start`).
      fps: instants `k / fps` after `start` instead, to the end of the range or of the track.
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
        """No frame is wanted that is over before this time, in seconds after time zero."""
        if not self._every:
            return self._instant(len(self.shown))
        return self._start if self.first is None or self.last < self._start else -math.inf

    def _instant(self, number: int) -> float:
        if self._instants is None:
            return self._start + number / self._fps
        return self._instants[number] if number < len(self._instants) else math.inf

    def offer(self, time: float, duration: float, frame: Any) -> None:
        """Take the next decoded frame, which begins at `time`, seconds after time zero.

        Raises:
          MediaError: its time stamp jumps, or what is kept grows beyond the limits.
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
        """Bytes of the frames that are given back, as far as is known."""
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
        """No frame begins in the range: the one on show at its start stands for it."""
        if not self.painted:
            self.painted, self.shown, self.times = [self._painter.paint(self._showing)], [0], [0.0]

    def _show_until(self, time: float) -> None:
        """Take the frame on show for each wanted instant before `time`."""
        while len(self.shown) < self._count and self._instant(len(self.shown)) < time:
            if not self._showing_painted:
                self.painted.append(self._painter.paint(self._showing))
                self._showing_painted = True
            self.times.append(self._instant(len(self.shown)) - self._start)
            self.shown.append(len(self.painted) - 1)

    def finish(self) -> None:
        """No more frames come: the last one stays on show, for `fps` to the end of the range or its own."""
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
        """The wanted frames, uint8 `[T, H, W, 3]`, and their times in seconds after `start`, `[T]`."""
        frames = self._painter.stack(self.painted)
        if len(self.painted) != len(self.shown):
            frames = frames[np.array(self.shown)]
        return frames, np.array(self.times, np.float64)


def grid_count(seconds: float | int, fps: float | int) -> int:
    """Number of instants `k / fps` in `[0, seconds)`, blind to rounding of the last."""
    return max(0, math.ceil((seconds - SLACK) * fps))


class PacketGate:
    """Feeds a video track's packets to its decoder, but only those on which a wanted frame depends.

    Packets are held back until one arrives that is shown after the next wanted instant; if a key
    frame that is shown no later comes before that, what was held back is dropped undecoded.

    Args:
      stream: the video track.
      origin: time zero in the file's seconds.
      selection: takes the frames.
      keyed: whether to begin at the first key frame, as after a seek.
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
        """Whether a key frame to begin with has been met."""
        return self._begun

    def feed(self, packet: Any) -> None:
        """The track's next packet; an empty one is the end of the track."""
        if not packet.size:
            self.drain()
            return
        shown = None if packet.pts is None else packet.pts * self._tick - self._origin
        if not self._begun:
            if not packet.is_keyframe:
                return
            self._begun = True
            # Leading pictures of an open group hang on a frame from before the seek.
            self._floor = -math.inf if shown is None else shown
        if packet.is_corrupt:
            self.damage.note("packets of the picture are marked as damaged by the container", shown)
        if shown is None or shown > self._selection.next + SLACK:
            self._decode_held()
            self._decode(packet)
        elif packet.is_keyframe:
            if self._fed:
                self._decoder.flush_buffers()
                self._fed = False
            self._held = [packet]
            self._floor = shown
        else:
            self._held.append(packet)

    def drain(self) -> None:
        """The end of the track: decode what is held back, and what the decoder holds."""
        self._decode_held()
        if self._fed and not self._selection.done:
            self._decode(None)

    def _decode_held(self) -> None:
        held, self._held = self._held, []
        for packet in held:
            self._decode(packet)

    def _after(self) -> float:
        """Where a frame without a stamp of its own belongs."""
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
            # Not `frame.time`: frames that are drained from a decoder do not know their time base.
            time = self._after() if frame.pts is None else frame.pts * self._tick - self._origin
            # Demuxers of programme streams guess the stamps of some frames, and guess one twice.
            time = self._after() if time <= self._last else time
            self._last = time
            self._spacing = frame.duration * self._tick or self._spacing
            if time >= self._floor - SLACK and not self._selection.done:
                self._selection.offer(time, self._spacing, frame)
