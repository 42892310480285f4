"""The MP4 files that this package writes: their tracks, their options, and how they come to be whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

MP4_OPTIONS = {"movflags": "+faststart"}
"""The index stands before the media, so that a file cut short still opens."""

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""The sample rates of AAC (ISO/IEC 14496-3, table 1.18)."""


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
