"""Write frames and samples as an MP4 file: H.264 and AAC, the pair that every player knows."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

MP4_OPTIONS = {"movflags": "+faststart"}
"""The index stands before the media, so that a file cut short still opens."""

AAC_FRAME = 1024
"""Samples in a block of AAC."""

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""The sample rates of AAC (ISO/IEC 14496-3, table 1.18)."""


def encode(
    path: str | os.PathLike,
    frames: UInt8[np.ndarray, "T H W 3"] | None,
    fps: float,
    *,
    samples: Float[np.ndarray, " S"] | None = None,
    sample_rate: int = 16000,
    crf: int = 23,
    gop: int | None = None,
    preset: str = "veryfast",
    audio_bitrate: int = 64000,
) -> None:
    """Write a clip as MP4. The file appears whole or not at all, under its name only when it is complete.

    Args:
      path: where to write; its folder must exist.
      frames: pixels in [0, 255]; None writes sound alone. A size with an odd side is kept by coding
        the colours at full resolution (4:4:4), which some players, though no decoder here, refuse.
      fps: frames a second.
      samples: mono sound in [-1, 1], which begins with the first frame; None writes pictures alone.
      sample_rate: samples a second, one of `AAC_RATES`.
      crf: x264's constant rate factor: 0 is lossless, 51 the worst; 23 is its default.
      gop: frames from one key frame to the next; None lets x264 choose.
      preset: x264's preset, from `ultrafast` to `veryslow`.
      audio_bitrate: bits a second of the sound.

    Raises:
      ValueError: nothing to write, a wrong shape or type, a rate that AAC does not have.
      OSError: the file cannot be written.
    """
    import av

    _check(frames, fps, samples, sample_rate)
    with atomic_path(path) as part, av.open(part, "w", format="mp4", options=MP4_OPTIONS) as container:
        picture = sound = None
        if frames is not None:
            rate = Fraction(fps).limit_denominator(100000)
            picture = video_stream(container, frames.shape[2], frames.shape[1], rate)
            tune_video(picture, crf, gop, preset)
        if samples is not None:
            sound = audio_stream(container, sample_rate, "mono", audio_bitrate)
        _write(container, picture, frames, sound, samples, fps)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[str]:
    """A name beside `path` to write to; what was written is moved to `path` in one step at the end.

    Raises:
      OSError: it cannot be written; nothing is left behind.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} to")
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield str(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def video_stream(container: Any, width: int, height: int, rate: Fraction) -> Any:
    """An H.264 track of that size, tagged BT.709 as players assume."""
    from av.video.reformatter import ColorRange, Colorspace

    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
    context = stream.codec_context
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries = context.color_trc = 1
    return stream


def tune_video(stream: Any, crf: int, gop: int | None, preset: str) -> None:
    """Set x264's options. One thread: clips are small, and many are encoded side by side.

    No B-frames: a frame then hangs on earlier ones alone, so a part of a clip is cheap to reach.
    """
    stream.codec_context.thread_count = 1
    stream.codec_context.max_b_frames = 0
    if gop is not None:
        stream.codec_context.gop_size = gop
    stream.options = {"crf": str(crf), "preset": preset}


def audio_stream(container: Any, sample_rate: int, layout: str, bitrate: int) -> Any:
    """An AAC track."""
    stream = container.add_stream("aac", rate=sample_rate)
    stream.layout, stream.bit_rate, stream.format = layout, bitrate, "fltp"
    return stream


def _write(
    container: Any, picture: Any, frames: np.ndarray | None, sound: Any, samples: np.ndarray | None, fps: float
) -> None:
    """Encode both tracks in step, so that each second's sound stands next to its pictures in the file."""
    blocks = iter(()) if sound is None else _sound_packets(sound, np.asarray(samples, np.float32))
    said = 0.0
    if picture is not None:
        for number, packets in enumerate(_picture_packets(picture, np.ascontiguousarray(frames))):
            container.mux(packets)
            while said <= number / fps:
                said, packets = next(blocks, (math.inf, []))
                container.mux(packets)
    for _, packets in blocks:
        container.mux(packets)


def _picture_packets(stream: Any, frames: np.ndarray) -> Iterator[list[Any]]:
    """Packets of each frame, then those that the encoder still holds."""
    import av
    from av.video.reformatter import Colorspace, VideoReformatter

    reformatter = VideoReformatter()
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = reformatter.reformat(frame, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, threads=1)
        frame.pts, frame.time_base = number, 1 / stream.codec_context.rate
        yield stream.encode(frame)
    yield stream.encode(None)


def _sound_packets(stream: Any, samples: np.ndarray) -> Iterator[tuple[float, list[Any]]]:
    """End in seconds and packets of each block of samples, then what the encoder still holds."""
    import av

    rate = stream.codec_context.sample_rate
    for at in range(0, len(samples), AAC_FRAME):
        piece = np.ascontiguousarray(samples[None, at : at + AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        yield (at + AAC_FRAME) / rate, stream.encode(frame)
    yield math.inf, stream.encode(None)


def _check(frames: np.ndarray | None, fps: float, samples: np.ndarray | None, sample_rate: int) -> None:
    if frames is None and samples is None:
        raise ValueError("nothing to encode: give frames, samples or both")
    if frames is not None:
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise ValueError(f"frames are {frames.dtype}{list(frames.shape)}; they must be uint8 [T, H, W, 3], none empty")
        if not fps > 0:
            raise ValueError(f"fps={fps} must be positive")
    if samples is not None:
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not len(samples):
            raise ValueError(f"samples are {samples.dtype}{list(samples.shape)}; they must be float [S] in [-1, 1], not empty")
        if sample_rate not in AAC_RATES:
            raise ValueError(f"sample_rate={sample_rate} is not a rate of AAC; resample to one of {AAC_RATES}")
