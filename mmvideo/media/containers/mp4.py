"""Writing of MP4 files: tracks, options, and atomic replacement."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

MP4_OPTIONS = {"movflags": "+faststart"}
"""Options that put the index before the media, so that a truncated file still opens."""

BT709 = 1
"""BT.709's number as a matrix, as primaries and as a transfer curve (ITU-T H.273)."""

BT601 = 5
"""swscale's number of BT.601; those of the other matrices are the ones of ITU-T H.273."""

TIME_BASE = Fraction(1, 90000)
"""Clock of video with its own frame times; 90 kHz represents all common rates exactly."""

LIMITED = 1
"""FFmpeg's number for luma from 16 to 235."""

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""The sample rates of AAC (ISO/IEC 14496-3, table 1.18)."""


def video_stream(container: Any, width: int, height: int, rate: Fraction) -> Any:
    """Return a new H.264 track of that size; an odd side needs colours at full resolution (4:4:4)."""
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
    return stream


def tag_colours(stream: Any, source: Any | None = None) -> None:
    """Tag the track with the colour space of a frame, or with BT.709, which players assume."""
    context = stream.codec_context
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(context, name, BT709 if source is None else getattr(source, name))
    context.color_range = LIMITED


def tag_as(stream: Any, frame: Any) -> int:
    """Tag the track with a frame's colour space, or BT.709 for RGB; return the matrix, as PyAV's `Colorspace`.

    A track without a matrix stays without one; its conversion assumes BT.601 in both directions.
    """
    in_rgb = frame.format.is_rgb
    tag_colours(stream, None if in_rgb else frame)
    return BT709 if in_rgb else {2: BT601, 5: BT601, 6: BT601}.get(int(frame.colorspace), int(frame.colorspace))


def tune_video(stream: Any, crf: int, gop: int | None, preset: str) -> None:
    """Set x264's options, with one thread, because clips are small and many are encoded in parallel.

    There are no B-frames: a frame then depends only on earlier ones, so a part of a clip is cheap to reach.
    """
    stream.codec_context.thread_count = 1
    stream.codec_context.max_b_frames = 0
    if gop is not None:
        stream.codec_context.gop_size = gop
    stream.options = {"crf": str(crf), "preset": preset}


class PictureEncoder:
    """Encoder of a track's frames that keeps the duration of each frame, which x264 loses."""

    def __init__(self, stream: Any):
        self._stream, self._stays = stream, {}

    def encode(self, frame: Any, pts: int, duration: int) -> list[Any]:
        """Encode a frame with this start and duration in ticks; return the packets that are ready."""
        frame.pts, frame.duration, frame.time_base = pts, duration, self._stream.codec_context.time_base
        # Keyed by start: the encoder may return the packet only a few frames later.
        self._stays[pts] = duration
        return self._timed(self._stream.encode(frame))

    def finish(self) -> list[Any]:
        """Return the packets that the encoder still holds."""
        return self._timed(self._stream.encode(None))

    def _timed(self, packets: list[Any]) -> list[Any]:
        for packet in packets:
            packet.duration = self._stays.pop(packet.pts)
        return packets


def audio_stream(container: Any, sample_rate: int, layout: str, bitrate: int) -> Any:
    """Return a new AAC track with the encoder's fast search, because the thorough one dominates the time of short
    clips."""
    stream = container.add_stream("aac", rate=sample_rate, options={"aac_coder": "fast"})
    stream.layout, stream.bit_rate, stream.format = layout, bitrate, "fltp"
    return stream


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[str]:
    """Yield a temporary name beside `path`, and rename it to `path` at the end.

    Raises:
      OSError: the file cannot be written; no temporary file remains.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} to")
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        # On success the rename removes the temporary name, so the unlink has nothing to do.
        yield str(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
