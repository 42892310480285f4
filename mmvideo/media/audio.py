"""From a sound track to mono samples at one rate, in their place on the clip's clock."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.container import MediaError, check_time
from mmvideo.media.containers.damage import Damage
from mmvideo.media.containers.length import LAST_BLOCK
from mmvideo.media.remix import Mixer

JUMP = 0.05
"""Seconds by which a frame's time must leave the running count of samples to be a gap; less is rounding."""


class SoundTrack:
    """Decodes a sound track and lays it, mono and resampled, on the clock of the clip.

    Channels are mixed down with weights that add up to one, so nothing clips; see `mixing`.

    Args:
      stream: the sound track.
      origin: time zero in the file's seconds.
      ending: the declared end of the track, in seconds after time zero; None where it is not declared.
      start, end: the range in seconds after time zero; `end` may be infinite.
      sample_rate: samples a second that come out.
      open_ended: the last packet may be shorter than the others, since the file does not say how many samples it has.

    Attributes:
      begin, end: the declared place of the track, in seconds after time zero; 0 and infinity where it is not declared.
      first, last: where the decoded sound begins and ends; None and minus infinity before there is any.
      done: nothing more is wanted.
      damage: all that could not be decoded.
    """

    def __init__(
        self,
        stream: Any,
        origin: float,
        ending: float | None,
        start: float | int,
        end: float | int,
        sample_rate: int,
        open_ended: bool = False,
        limits: Limits = LIMITS,
    ):
        self._decoder, self._origin = stream.codec_context, origin
        self._start, self._end, self._sample_rate = start, end, sample_rate
        self._limits = limits
        self._tick, self._open_ended = float(stream.time_base), open_ended
        # Where the file does not say where the track lies, it may lie anywhere.
        self.begin = 0.0 if stream.start_time is None else stream.start_time * self._tick - origin
        self.end = math.inf if ending is None else ending
        self._pieces: list[tuple[float, list[np.ndarray]]] = []
        self._mixer = Mixer("mono", sample_rate)
        self._expected, self._held = -math.inf, 0
        self.first: float | None = None
        self.last = -math.inf
        self.done = False
        self.damage = Damage()

    def feed(self, packet: Any) -> None:
        """The track's next packet; an empty one is the end of the track."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and stamp * self._tick - self._origin >= self._end:
            self.done = True
        elif not self.done:
            if packet.is_corrupt and not self._open_ended:
                time = None if stamp is None else stamp * self._tick - self._origin
                self.damage.note("packets of the sound are marked as damaged by the container", time)
            self._decode(packet if packet.size else None)

    def _decode(self, packet: Any) -> None:
        import av

        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError as error:
            time = None if packet is None or packet.pts is None else packet.pts * self._tick - self._origin
            self.damage.note("packets of the sound cannot be decoded", time, error.strerror)
            return
        for frame in frames:
            self._take(frame)

    def _take(self, frame: Any) -> None:
        """Append a decoded frame; a jump in its time begins a new piece."""
        time = self._expected if frame.pts is None else frame.pts * self._tick - self._origin
        if time == -math.inf:
            time = 0.0
        check_time(self._expected, time, self._limits, "sound")
        if abs(time - self._expected) > JUMP:
            self._flush()
            self._pieces.append((time, []))
            self._expected = time
            self.first = time if self.first is None else self.first
        self._expected += frame.samples / frame.sample_rate
        self.last = max(self.last, self._expected)
        self._append(self._mixer.mix(frame))

    def _append(self, frames: list[Any]) -> None:
        self._pieces[-1][1].extend(np.frombuffer(f.planes[0], np.float32, f.samples) for f in frames)
        self._held += sum(f.samples for f in frames)
        if self._held * 4 > self._limits.frame_bytes:
            raise MediaError(
                f"its {self._held} samples take more than the limit of {self._limits.frame_bytes} bytes; ask for a "
                "range, or for fewer samples a second"
            )

    def _flush(self) -> None:
        """Collect what the mixer holds."""
        if self._pieces:
            self._append(self._mixer.flush())

    def _pad_off(self) -> None:
        """Block codecs fill up their last block; what lies a block's length past the declared end is no sound."""
        if 0 < self.last - self.end < LAST_BLOCK:
            self.last = self.end
            self._end = min(self._end, self.end)

    def samples(self) -> Float[np.ndarray, " S"] | None:
        """The sound of the range, from `start` to where it ends, silent in gaps; None if there is none in it."""
        self._flush()
        if self._mixer.repaired:
            self.damage.note("samples are no finite numbers and read as silence", count=self._mixer.repaired)
        placed = []
        for time, chunks in self._pieces:
            at = round((time - self._start) * self._sample_rate)
            for chunk in chunks:
                placed.append((at, chunk))
                at += len(chunk)
        self._pad_off()
        longest = math.inf if self._end == math.inf else round((self._end - self._start) * self._sample_rate)
        length = min(max((at + len(chunk) for at, chunk in placed), default=0), longest)
        if length <= 0:
            return None
        out = np.zeros(length, np.float32)
        for at, chunk in placed:
            first, last = max(at, 0), min(at + len(chunk), length)
            if first < last:
                out[first:last] = chunk[first - at : last - at]
        return np.clip(out, -1.0, 1.0, out=out)
