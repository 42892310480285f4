"""Frames as a screen displays them: whole frames, on white, in colours that swscale converts.

A decoder returns the content of the file, which may not be displayable yet: two interlaced fields of different times,
transparent pixels, a colour matrix that swscale does not know, or light for a brighter screen (HLG and PQ). Every step
uses one frame alone, so a reader that seeks and a transcoder that streams give the same result.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np

from mmvideo.media.containers.container import (
    MediaError,
    MediaSource,
    find_tracks,
    is_webp,
    open_media,
    source_name,
)
from mmvideo.media.frames.hdr import CURVES, tone_map

KNOWN_MATRICES = frozenset({1, 2, 4, 5, 6, 7, 9})
"""Matrices that swscale converts: BT.709, unspecified, FCC, BT.601 twice, SMPTE 240M, BT.2020 (H.273, table 4)."""

MEANINGLESS_MATRICES = frozenset({0, 3, *range(18, 256)})
"""Reserved numbers, and RGB on a format that is not RGB; they mean no more than an unspecified matrix."""

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's names of decoders that read transparency, by the names of those that do not."""

UNSAID, YCGCO, BT2020 = 2, 8, 9

_local = threading.local()


def reformatter() -> Any:
    """Return this thread's `VideoReformatter`; a new one for each clip would plan the same resize again."""
    if not hasattr(_local, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _local.reformatter = VideoReformatter()
    return _local.reformatter


class Shown:
    """Conversion of the frames of one track to displayable ones.

    Args:
      name: name of the file for messages.
      deinterlace: make whole frames of fields: the first field stays, and the lines of the other are interpolated.
      tone_map: convert HLG and PQ to BT.709; without it their code values are used unchanged.
    """

    def __init__(self, name: str, deinterlace: bool = True, tone_map: bool = True):
        self.name, self._deinterlace, self._tone_map = name, deinterlace, tone_map

    def show(self, frame: Any, height: int, width: int, interpolation: Any) -> Any:
        """Return the frame in a form that swscale converts correctly.

        Colours that need arithmetic are computed at the requested size, other steps at the frame's own size; the caller
        scales the result.

        Raises:
          MediaError: its colour matrix is not supported.
        """
        # Order matters: fields are merged before any resize, which would mix lines of different times.
        if self._deinterlace and frame.interlaced_frame:
            frame = deinterlaced(frame)
        if is_transparent(frame):
            frame = on_white(frame)
        if not frame.format.is_rgb and self._matrix(frame) == YCGCO:
            return from_ycgco(frame, height, width, interpolation)
        if self._tone_map and frame.color_trc in CURVES:
            return from_hdr(frame, height, width, interpolation)
        return frame

    def _matrix(self, frame: Any) -> int:
        """Return the frame's matrix; a meaningless one is replaced by the unspecified one."""
        matrix = int(frame.colorspace)
        if matrix in MEANINGLESS_MATRICES:
            frame.colorspace = matrix = UNSAID
        if matrix not in KNOWN_MATRICES and matrix != YCGCO:
            raise MediaError(
                f"{self.name}: its colours are coded in matrix {matrix} (ITU-T H.273, table 4), which isn't read "
                "here; convert the file to BT.709 with another program"
            )
        return matrix


def from_hdr(frame: Any, height: int, width: int, interpolation: Any) -> Any:
    """Return an HLG or PQ frame in BT.709, as 8-bit RGB of the requested size; unspecified primaries count as
    BT.2020's."""
    import av

    curve, wide = int(frame.color_trc), int(frame.color_primaries) in (0, UNSAID, BT2020)
    if not frame.format.is_rgb and frame.colorspace == UNSAID:
        frame.colorspace = BT2020
    codes = reformatter().reformat(frame, width, height, "rgb48le", interpolation=interpolation, threads=1)
    return _like(frame, av.VideoFrame.from_ndarray(tone_map(codes.to_ndarray(), curve, wide), format="rgb24"))


def picture_decoder(stream: Any) -> Any:
    """Return the decoder of a video track: its own, or a single-threaded one of libvpx for VP8 and VP9 with
    transparency.

    FFmpeg's own decoders of those two ignore the second image that WebM stores for transparency.
    """
    import av

    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ALPHA_DECODERS:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # Not every FFmpeg is built with libvpx.
            decoder = av.CodecContext.create(ALPHA_DECODERS[decoder.name], "r")
            decoder.thread_count = 1
    return decoder


def look(source: MediaSource) -> tuple[bool, bool]:
    """Return whether a file's first frame is interlaced, and whether it is HLG or PQ.

    Raises:
      MediaError: the file cannot be opened, or has neither video nor audio.
    """
    import av

    if is_webp(source):
        return False, False
    with open_media(source) as container:
        video = find_tracks(container, source_name(source)).video
        try:
            frame = None if video is None else next(container.decode(video), None)
        except av.error.FFmpegError:
            frame = None  # Damage at the start; what can be decoded after it is shown as its own frames say.
    return (False, False) if frame is None else (bool(frame.interlaced_frame), int(frame.color_trc) in CURVES)


def deinterlaced(frame: Any) -> Any:
    """Return a whole frame of the first field, with the missing lines interpolated along edges (FFmpeg's `estdif`).

    It needs no neighbouring frames, so a frame looks the same however it was reached.
    """
    import av

    graph = av.filter.Graph()
    graph.threads = 1
    colours = "" if frame.format.is_rgb else f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    source = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1:pixel_aspect=1/1"
    nodes = [graph.add("buffer", source + colours), graph.add("estdif", "mode=frame:deint=all")]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(frame)
    graph.push(None)
    whole = graph.pull()
    return _like(frame, whole)


def is_transparent(frame: Any) -> bool:
    """Return whether a frame's format can hold transparent pixels."""
    return frame.format.has_palette or any(part.is_alpha for part in frame.format.components)


def on_white(frame: Any) -> Any:
    """Return the frame on a white background, as browsers and readers of WebP display it."""
    import av

    pixels = reformatter().reformat(frame, format="rgba", threads=1).to_ndarray()
    alpha = pixels[..., 3:].astype(np.uint16)
    # Rounded integer blend: a value of 100 at alpha 51 (a fifth) gives (5100 + 52020 + 127) // 255 = 224.
    mixed = (pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return _like(frame, av.VideoFrame.from_ndarray(mixed.astype(np.uint8), format="rgb24"))


def from_ycgco(frame: Any, height: int, width: int, interpolation: Any) -> Any:
    """Return the RGB of a frame in YCgCo, at the requested size.

    With `t = Y - Cg`: R = t + Co, G = Y + Cg, B = t - Co (H.273, equations 76 to 78). In the limited range R, G and B
    are from 16 to 235, and so is the result: chroma is scaled by 219, not by 224.
    """
    import av

    deep = max(part.bits for part in frame.format.components) > 8
    full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    # 10 bits have steps of a quarter in limited range (64 for 16), and of 255 / 1023 in full range.
    pixels, kind, step = ("yuv444p10le", np.uint16, 1023 / 255 if full else 4) if deep else ("yuv444p", np.uint8, 1)
    frame.colorspace = UNSAID
    try:
        wide = reformatter().reformat(frame, width, height, pixels, interpolation=interpolation, threads=1)
    finally:
        frame.colorspace = YCGCO
    luma, green, orange = (values(plane, height, width, kind) / np.float32(step) for plane in wide.planes)
    middle = 512 / step if deep else 128
    green, orange = green - np.float32(middle), orange - np.float32(middle)
    rgb = np.stack([luma - green + orange, luma + green, luma - green - orange], axis=-1)
    if not full:
        rgb = (rgb - 16) * (255 / 219)
    return _like(frame, av.VideoFrame.from_ndarray(np.rint(rgb).clip(0, 255).astype(np.uint8), format="rgb24"))


def values(plane: Any, height: int, width: int, kind: type = np.uint8) -> np.ndarray:
    """Return the values of a plane, `[H, W]`, without the padding of its rows."""
    # A width of 100 pixels may be stored in lines of 128 bytes: cut off 28.
    rows = np.frombuffer(plane, np.uint8, height * plane.line_size).reshape(height, plane.line_size)
    return rows.view(kind)[:, :width]


def _like(frame: Any, drawn: Any) -> Any:
    """Give a derived frame the time of the original, and return it."""
    drawn.pts, drawn.duration = frame.pts, frame.duration
    if frame.time_base is not None:
        drawn.time_base = frame.time_base
    return drawn
