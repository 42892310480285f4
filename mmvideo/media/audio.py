"""Decoding of an audio track to mono samples at one rate, aligned with the clock of the clip."""

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
"""Smallest deviation, in seconds, of a frame's time from the running sample count that is a gap; less is rounding."""


class SoundTrack:
    """Decoder of an audio track, which places its mono, resampled samples on the clock of the clip.

    Channels are mixed down with weights that add up to one, so nothing clips; see `remix`.

    Args:
      stream: the audio track.
      origin: time zero in the file's seconds.
      ending: declared end of the track, in seconds after time zero; None if it is not declared.
      start, end: range in seconds after time zero; `end` may be infinite.
      sample_rate: output samples per second.
      open_ended: whether the last packet may be shorter than the others, because the file does not declare its length.

    Attributes:
      begin, end: declared range of the track, in seconds after time zero; 0 and infinity if it is not declared.
      first, last: start and end of the decoded audio; None and minus infinity before there is any.
      done: whether nothing more is needed.
      damage: everything that could not be decoded.
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
        # A track without a declared range may cover any time.
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
        """Process the track's next packet; an empty one is the end of the track."""
        # Audio frames are not reordered, so a missing display time equals the decoding time.
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
        """Append a decoded frame; a jump in its time begins a new segment."""
        time = self._expected if frame.pts is None else frame.pts * self._tick - self._origin
        if time == -math.inf:
            time = 0.0
        check_time(self._expected, time, self._limits, "sound")
        # The count of samples is more precise than time stamps: 1.000 s of samples and a stamp of 1.001 s is no gap,
        # 1.2 s is.
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
        # 4 bytes for each float32 sample.
        if self._held * 4 > self._limits.frame_bytes:
            raise MediaError(
                f"its {self._held} samples take more than the limit of {self._limits.frame_bytes} bytes; ask for a "
                "range, or for fewer samples a second"
            )

    def _flush(self) -> None:
        """Collect the samples held by the mixer."""
        if self._pieces:
            self._append(self._mixer.flush())

    def _pad_off(self) -> None:
        """Cut the padding of the last block: block codecs fill it up past the declared end of the audio."""
        if 0 < self.last - self.end < LAST_BLOCK:
            self.last = self.end
            self._end = min(self._end, self.end)

    def samples(self) -> Float[np.ndarray, " S"] | None:
        """Return the samples of the range, from `start` to the end of the audio, silent in gaps; None if there are
        none."""
        self._flush()
        if self._mixer.repaired:
            self.damage.note("samples are no finite numbers and read as silence", count=self._mixer.repaired)
        placed = []
        for time, chunks in self._pieces:
            # Round once for each segment: rounding every chunk would leave gaps of a sample.
            at = round((time - self._start) * self._sample_rate)
            for chunk in chunks:
                placed.append((at, chunk))
                at += len(chunk)
        self._pad_off()
        # A range of 1.5 s at 16 kHz has 24000 samples at most; the audio may end earlier.
        longest = math.inf if self._end == math.inf else round((self._end - self._start) * self._sample_rate)
        length = min(max((at + len(chunk) for at, chunk in placed), default=0), longest)
        if length <= 0:
            return None
        out = np.zeros(length, np.float32)
        for at, chunk in placed:
            # A chunk of 5 samples at -2, of an output of 10: its samples 2 to 5 go to 0 to 3.
            first, last = max(at, 0), min(at + len(chunk), length)
            if first < last:
                out[first:last] = chunk[first - at : last - at]
        return np.clip(out, -1.0, 1.0, out=out)
