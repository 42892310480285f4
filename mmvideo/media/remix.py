"""Conversion of decoded audio of any layout to mono or stereo at one rate, with finite samples only."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

MIX_DOWN = {"rematrix_maxval": "1.0"}
"""Option that makes the channel weights add up to one, which swresample otherwise does for integer samples only."""

LOUDEST = 1e4
"""Largest magnitude of a float sample, in full scales; more is an integer read as float, or damage."""

MOST_PLANES = 7
"""Largest number of planar channels that PyAV reads safely; it miscounts the planes of more."""


class Mixer:
    """Mixer and resampler of successive frames, with weights that add up to one, so nothing clips.

    Layouts that swresample cannot mix (ambisonics, 9 or 32 channels) give the mean of their channels. Samples that are
    NaN, infinite or beyond `LOUDEST` become silence before they can spread, and are counted.

    Args:
      layout: `mono` or `stereo`.
      sample_rate: output samples per second.

    Attributes:
      repaired: number of samples replaced by silence.
    """

    def __init__(self, layout: str, sample_rate: int):
        self._layout, self._sample_rate = layout, sample_rate
        self._source: tuple[str, str, int] | None = None
        self._resampler: Any = None
        self._unpacker: Any = None
        self._averaged = False
        self.repaired = 0

    def mix(self, frame: Any) -> list[Any]:
        """Return the output for a frame, as planar floats without time stamps; samples still held come with later
        frames."""
        # A stamp on the frame would let the filter graph stretch or pad.
        frame.pts = None
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        done = [] if source == self._source else self.flush()
        if source != self._source:
            self._begin(frame, source)
        return done + [piece for plain in self._plain(frame) for piece in self._resample(plain)]

    def flush(self) -> list[Any]:
        """Return the samples still held; the next frame starts afresh."""
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
        # Mono float at the right rate passes through unchanged, to the bit.
        same = channels == 1 and name in ("flt", "fltp") and self._layout == "mono"
        if not (same and frame.sample_rate == self._sample_rate):
            self._resampler = AudioResampler("fltp", self._layout, self._sample_rate, options=MIX_DOWN)

    def _plain(self, frame: Any) -> list[Any]:
        """Return the frame, converted to packed floats if necessary, and repaired."""
        if self._unpacker is not None:
            return [self._repair(piece) for piece in self._unpacker.resample(frame)]
        return [self._repair(frame)] if frame.format.name in ("flt", "fltp") else [frame]

    def _repair(self, frame: Any) -> Any:
        """Return the frame of floats with silence in place of invalid samples."""
        # Packed stereo of 1024 samples is one plane of 2048 values; planar stereo is two planes of 1024.
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
    """Return whether swresample has weights for a layout; only an attempt to mix, which takes 2 ms, shows it."""
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
    """Return the mean of a packed frame's channels, in each channel of a layout; swresample's would be 3 dB less."""
    import av

    channels = frame.layout.nb_channels
    samples = np.frombuffer(frame.planes[0], np.float32)[: frame.samples * channels].reshape(-1, channels)
    means = np.repeat(samples.mean(1)[None], av.AudioLayout(layout).nb_channels, 0)
    mixed = av.AudioFrame.from_ndarray(np.ascontiguousarray(means), format="fltp", layout=layout)
    mixed.sample_rate = frame.sample_rate
    return mixed
