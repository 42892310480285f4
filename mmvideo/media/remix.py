"""Decoded sound of any layout as mono or stereo of one rate, without a sample that is no number."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

MIX_DOWN = {"rematrix_maxval": "1.0"}
"""Makes the weights of the channels add up to one, which swresample else does for integer samples alone."""

LOUDEST = 1e4
"""Full scales beyond which a float sample is no sound: a file of integers that is read as floats, or damage."""

MOST_PLANES = 7
"""Channels of a planar frame whose samples PyAV reaches safely; of more it counts the planes wrong."""


class Mixer:
    """Mixes and resamples frames, one after another, with weights that add up to one, so nothing clips.

    Layouts that swresample cannot mix (ambisonics, 9 or 32 channels) give the mean of their channels. Samples that are
    NaN, infinite or beyond `LOUDEST` become silence before they can spread, and are counted.

    Args:
      layout: `mono` or `stereo`.
      sample_rate: samples a second that come out.

    Attributes:
      repaired: number of samples that were made silence.
    """

    def __init__(self, layout: str, sample_rate: int):
        self._layout, self._sample_rate = layout, sample_rate
        self._source: tuple[str, str, int] | None = None
        self._resampler: Any = None
        self._unpacker: Any = None
        self._averaged = False
        self.repaired = 0

    def mix(self, frame: Any) -> list[Any]:
        """Return what a frame gives, planar floats without stamps; what it still holds comes with later ones."""
        # A stamp on the frame would let the filter graph stretch or pad.
        frame.pts = None
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        done = [] if source == self._source else self.flush()
        if source != self._source:
            self._begin(frame, source)
        return done + [piece for plain in self._plain(frame) for piece in self._resample(plain)]

    def flush(self) -> list[Any]:
        """Return what is still held; the next frame begins anew."""
        self._source = None
        plain = [] if self._unpacker is None else self._unpacker.resample(None)
        out = [piece for frame in plain for piece in self._resample(self._repair(frame))]
        if self._resampler is not None:
            out += self._resampler.resample(None)
        self._resampler = self._unpacker = None
        return out

    def _begin(self, frame: Any, source: tuple[str, str, int]) -> None:
        """Prepare for frames of a format, a layout and a rate."""
        from av import AudioResampler

        self._source = source
        name, channels = frame.format.name, frame.layout.nb_channels
        self._averaged = not _mixable(frame.layout.name, self._layout)
        integers = not name.startswith(("flt", "dbl"))
        reachable = name == "flt" or (name == "fltp" and channels <= MOST_PLANES)
        if self._averaged or not (integers or reachable):
            self._unpacker = AudioResampler("flt", frame.layout, frame.sample_rate)
        same = channels == 1 and name in ("flt", "fltp") and self._layout == "mono"
        if not (same and frame.sample_rate == self._sample_rate):
            self._resampler = AudioResampler("fltp", self._layout, self._sample_rate, options=MIX_DOWN)

    def _plain(self, frame: Any) -> list[Any]:
        """The frame, or what it is as packed floats, repaired."""
        if self._unpacker is not None:
            return [self._repair(piece) for piece in self._unpacker.resample(frame)]
        return [self._repair(frame)] if frame.format.name in ("flt", "fltp") else [frame]

    def _repair(self, frame: Any) -> Any:
        """The frame of floats with silence for what is no number."""
        count = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
        for plane in frame.planes:
            samples = np.frombuffer(plane, np.float32)[:count]
            # The comparison is false for NaN as well.
            if len(samples) and not np.abs(samples).max() <= LOUDEST:
                wrong = ~(np.abs(samples) <= LOUDEST)
                samples[wrong] = 0
                self.repaired += int(wrong.sum())
        return _mean(frame, self._layout) if self._averaged else frame

    def _resample(self, frame: Any) -> list[Any]:
        frame.pts = None
        return [frame] if self._resampler is None else self._resampler.resample(frame)


@functools.cache
def _mixable(layout: str, target: str) -> bool:
    """Tell if swresample has weights for a layout; it only says so when it is asked to mix, which takes 2 ms."""
    import av

    silence = av.AudioFrame(format="flt", layout=layout, samples=64)
    silence.sample_rate = 48000
    np.frombuffer(silence.planes[0], np.uint8)[:] = 0
    try:
        av.AudioResampler("fltp", target, 48000, options=MIX_DOWN).resample(silence)
    except av.error.FFmpegError:
        return False
    return True


def _mean(frame: Any, layout: str) -> Any:
    """The mean of a packed frame's channels, in each channel of a layout: swresample would make it 3 dB less."""
    import av

    channels = frame.layout.nb_channels
    samples = np.frombuffer(frame.planes[0], np.float32)[: frame.samples * channels].reshape(-1, channels)
    means = np.repeat(samples.mean(1)[None], av.AudioLayout(layout).nb_channels, 0)
    mixed = av.AudioFrame.from_ndarray(np.ascontiguousarray(means), format="fltp", layout=layout)
    mixed.sample_rate = frame.sample_rate
    return mixed
