"""Encoder of frames and samples to an MP4 file: H.264 and AAC, which every player supports."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mmvideo.media.containers.mp4 import (
    AAC_RATES,
    MP4_OPTIONS,
    TIME_BASE,
    PictureEncoder,
    atomic_path,
    audio_stream,
    tag_colours,
    tune_video,
    video_stream,
)
from mmvideo.media.frames.displayed import reformatter
from mmvideo.media.frames.frame_converter import interpolation

__all__ = ["AAC_RATES", "encode"]

AAC_FRAME = 1024
"""Samples in a block of AAC."""

DEFAULT_SECONDS = Fraction(1, 25)
"""Duration of a single frame without other information."""


def encode(
    path: str | os.PathLike,
    frames: UInt8[np.ndarray, "T H W 3"] | None,
    fps: float | int | Fraction | None,
    *,
    times: Float[np.ndarray, " T"] | None = None,
    seconds: float | None = None,
    samples: Float[np.ndarray, " S"] | None = None,
    sample_rate: int = 16000,
    crf: int = 23,
    gop: int | None = None,
    preset: str = "veryfast",
    audio_bitrate: int = 64000,
) -> None:
    """Write a clip as MP4. The file appears under its name only when it is complete.

    Args:
      path: output path; its folder must exist.
      frames: pixels in [0, 255]; None writes audio alone. A size with an odd side is kept by coding colours at full
        resolution (4:4:4), which some players, though no decoder here, refuse.
      fps: frames per second; None with `times`.
      times: start of each frame instead, in seconds, ascending.
      seconds: with `times`: end of the last frame; None gives it the duration of the frame before.
      samples: mono audio in [-1, 1], which starts with the first frame; None writes video alone.
      sample_rate: samples per second, one of `AAC_RATES`.
      crf: x264's constant rate factor: 0 is lossless, 51 the worst; 23 is its default.
      gop: largest number of frames from one key frame to the next; None lets x264 choose.
      preset: x264's preset, from `ultrafast` to `veryslow`.
      audio_bitrate: bits per second of the audio.

    Raises:
      ValueError: nothing to write, a wrong shape or type, or a rate that AAC does not have.
      OSError: the file cannot be written.
    """
    import av

    _check(frames, fps, times, samples, sample_rate)
    with atomic_path(path) as part, av.open(part, "w", format="mp4", options=MP4_OPTIONS) as container:
        picture = sound = stamps = None
        if frames is not None:
            stamps, rate, tick = _stamps(len(frames), fps, times, seconds)
            picture = video_stream(container, frames.shape[2], frames.shape[1], rate)
            picture.codec_context.time_base = tick
            tag_colours(picture)
            tune_video(picture, crf, gop, preset)
        if samples is not None:
            sound = audio_stream(container, sample_rate, "mono", audio_bitrate)
        _write(container, picture, frames, stamps, sound, samples)


def _stamps(
    count: int, fps: float | int | Fraction | None, times: np.ndarray | None, seconds: float | None
) -> tuple[list[int], Fraction, Fraction]:
    """Return the start of each frame and the end of the last one in ticks, the average rate, and a tick in seconds."""
    if times is None:
        rate = Fraction(fps).limit_denominator(100000)
        return list(range(count + 1)), rate, 1 / rate
    # Times 0, 0.04 and 0.1 s are ticks 0, 3600 and 9000 of 1 / 90000 s; the last frame stays 5400 more.
    ticks = [round(float(time) / TIME_BASE) for time in times]
    # Without a given end, the last frame lasts as long as the one before.
    step = ticks[-1] - ticks[-2] if count > 1 else round(DEFAULT_SECONDS / TIME_BASE)
    end = ticks[-1] + step if seconds is None else round(seconds / TIME_BASE)
    ticks.append(max(end, ticks[-1] + 1))
    rate = Fraction(count, ticks[-1] - ticks[0]) / TIME_BASE
    return ticks, max(rate.limit_denominator(1001), Fraction(1, 1001)), TIME_BASE


def _write(
    container: Any, picture: Any, frames: np.ndarray | None, stamps: list[int] | None, sound: Any,
    samples: np.ndarray | None,
) -> None:  # fmt: skip
    """Encode both tracks in parallel, so that the audio of each second is beside its frames in the file."""
    blocks = iter(()) if sound is None else _sound_packets(sound, np.asarray(samples, np.float32))
    said = 0.0
    if picture is not None:
        tick = picture.codec_context.time_base
        for packets, begins in _picture_packets(picture, np.ascontiguousarray(frames), stamps):
            container.mux(packets)
            # Frames at 0.04 s intervals and audio blocks of 0.064 s: write blocks until one ends after the frame's
            # start.
            while said <= begins * tick:
                said, packets = next(blocks, (math.inf, []))
                container.mux(packets)
    for _, packets in blocks:
        container.mux(packets)


def _picture_packets(stream: Any, frames: np.ndarray, stamps: list[int]) -> Iterator[tuple[list[Any], int]]:
    """Yield the packets of each frame and the tick of its start, then the packets that the encoder still holds."""
    import av
    from av.video.reformatter import Colorspace

    encoder = PictureEncoder(stream)
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = reformatter().reformat(
            frame, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, interpolation=interpolation("bicubic"),
            threads=1,
        )  # fmt: skip
        yield encoder.encode(frame, stamps[number], stamps[number + 1] - stamps[number]), stamps[number]
    yield encoder.finish(), stamps[-1]


def _sound_packets(stream: Any, samples: np.ndarray) -> Iterator[tuple[float, list[Any]]]:
    """Yield the end in seconds and the packets of each block of samples, then the rest from the encoder."""
    import av

    rate = stream.codec_context.sample_rate
    for at in range(0, len(samples), AAC_FRAME):
        piece = np.ascontiguousarray(samples[None, at : at + AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        yield (at + AAC_FRAME) / rate, stream.encode(frame)
    yield math.inf, stream.encode(None)


def _check(
    frames: np.ndarray | None, fps: float | int | None, times: np.ndarray | None, samples: np.ndarray | None,
    sample_rate: int,
) -> None:  # fmt: skip
    if frames is None and samples is None:
        raise ValueError("nothing to encode: give frames, samples or both")
    if frames is not None:
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise ValueError(
                f"frames are {frames.dtype}{list(frames.shape)}; they must be uint8 [T, H, W, 3], none empty"
            )
        if (fps is None) == (times is None):
            raise ValueError("give fps or times, one of them")
        if fps is not None and not fps > 0:
            raise ValueError(f"fps={fps} must be positive")
        if times is not None and (len(times) != len(frames) or times[0] < 0 or (np.diff(times) < TIME_BASE).any()):
            raise ValueError(f"times must be {len(frames)} instants from 0 on, ascending, one a frame")
    if samples is not None:
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not len(samples):
            raise ValueError(
                f"samples are {samples.dtype}{list(samples.shape)}; they must be float [S] in [-1, 1], not empty"
            )
        if sample_rate not in AAC_RATES:
            raise ValueError(f"sample_rate={sample_rate} is not a rate of AAC; resample to one of {AAC_RATES}")
