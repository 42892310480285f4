"""Transcoder of a media file to a small MP4 that is fast to decode; it streams files of any length."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from fractions import Fraction
from typing import Any

from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.container import (
    MediaError,
    MediaSource,
    Tracks,
    check_time,
    find_tracks,
    is_webp,
    media_errors,
    open_media,
    source_name,
)
from mmvideo.media.containers.mp4 import (
    AAC_RATES,
    LIMITED,
    MP4_OPTIONS,
    TIME_BASE,
    PictureEncoder,
    audio_stream,
    tag_as,
    tune_video,
    video_stream,
)
from mmvideo.media.frames.displayed import Shown, picture_decoder, reformatter
from mmvideo.media.frames.frame_converter import interpolation, orientation, pixel_aspect, shown_size, turned
from mmvideo.media.frames.frame_selection import SLACK, grid_count
from mmvideo.media.remix import Mixer


def transcode(
    source: MediaSource,
    *,
    short_side: int | None = None,
    gop: int | None = None,
    fps: float | int | None = None,
    crf: int = 23,
    preset: str = "veryfast",
    audio_bitrate: int = 96000,
    deinterlace: bool = True,
    tone_map: bool = True,
    limits: Limits = LIMITS,
) -> bytes:
    """Return the file's first video and audio track as H.264 and AAC in MP4; a missing track stays absent.

    The video becomes upright, with square pixels and even sides, and time zero is its first frame. Its colours keep
    their matrix, because a conversion costs a rounding; RGB, YCgCo, HLG and PQ become BT.709. The audio keeps its rate,
    if AAC has it, and at most two channels. The same file and settings give the same bytes.

    Args:
      source: a path, or the bytes of a whole file.
      short_side: length of the shorter side in pixels to shrink to; a smaller video keeps its size.
      gop: largest number of frames from one key frame to the next, the cost of reaching a frame; None lets x264 choose.
      fps: constant frame rate; None keeps every frame and its time.
      crf: x264's constant rate factor, 0 lossless to 51.
      preset: x264's preset.
      audio_bitrate: bits per second of the audio.
      deinterlace, tone_map: whether to make whole frames of fields, and to convert HLG and PQ to BT.709.
      limits: limits beyond which a file is refused.

    Raises:
      MediaError: the file cannot be opened, nothing of it can be decoded, it exceeds the limits, or its colour matrix
        is not supported.
    """
    rate = Fraction(fps).limit_denominator(1001) if fps else None
    style = _Style(
        source_name(source), short_side, gop, rate, crf, preset, audio_bitrate, deinterlace, tone_map, limits
    )  # fmt: skip
    with media_errors(source_name(source)):
        return _transcode_webp(source, style) if is_webp(source) else _transcode(source, style)


def _transcode(source: MediaSource, style: _Style) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "clip.mp4")
        with open_media(source) as container:
            tracks = find_tracks(container, style.name, style.limits)
            writer = _Writer(out, tracks, style)
            written = _copy(container, tracks, writer)
        if writer.repaired:
            raise MediaError(f"{source_name(source)}: {writer.repaired} of its samples are no finite numbers")
        if not written:
            raise MediaError(
                f"{source_name(source)}: nothing of it can be decoded; it is damaged or in an unknown codec"
            )
        with open(out, "rb") as file:
            return file.read()


@dataclasses.dataclass(frozen=True)
class _Style:
    """Settings of the output; `rate` is the frame rate as a fraction, None for the frames' own times."""

    name: str
    short_side: int | None
    gop: int | None
    rate: Fraction | None
    crf: int
    preset: str
    audio_bitrate: int
    deinterlace: bool
    tone_map: bool
    limits: Limits


def _copy(container: Any, tracks: Tracks, writer: _Writer) -> bool:
    """Decode every packet and pass its frames to the writer, without damaged parts; return whether there were any."""
    import av

    streams = [s for s in (tracks.video, tracks.audio) if s is not None]
    decoders = {stream.index: stream.codec_context for stream in streams}
    if tracks.video is not None:
        decoders[tracks.video.index] = picture_decoder(tracks.video)
    # One thread each, because many files are transcoded in parallel.
    for decoder in decoders.values():
        decoder.thread_count = 1
    try:
        for packet in container.demux(*streams):
            try:
                frames = decoders[packet.stream.index].decode(packet if packet.size else None)
            except av.error.FFmpegError:
                continue
            for frame in frames:
                writer.write(frame, packet.stream is tracks.video)
    except av.error.FFmpegError:
        pass  # The file ends early: what was read is kept.
    return writer.close()


class _Writer:
    """Writer of an MP4, whose tracks are set up at their first frames."""

    def __init__(self, path: str, tracks: Tracks, style: _Style):
        import av

        self._container = av.open(path, "w", format="mp4", options=MP4_OPTIONS)
        self._tracks, self._style = tracks, style
        self._picture = self._sound = self._pictures = self._resampler = None
        if tracks.video is not None:
            rate = style.rate or tracks.video.average_rate or Fraction(25)
            self._picture = video_stream(self._container, 16, 16, Fraction(rate))
            tune_video(self._picture, style.crf, style.gop, style.preset)
        if tracks.audio is not None:
            context = tracks.audio.codec_context
            self._sound_rate = context.sample_rate if context.sample_rate in AAC_RATES else 48000
            self._layout = "mono" if context.channels == 1 else "stereo"
            self._sound_end = round(_track_end(tracks) * self._sound_rate)
            self._sound = audio_stream(self._container, self._sound_rate, self._layout, style.audio_bitrate)
        self._waiting: list[Any] = []
        self._said: int | None = None
        self._wrote = False

    def write(self, frame: Any, is_picture: bool) -> None:
        """Write a decoded frame. Audio waits for the first video frame, which sets the size in the file's header."""
        if is_picture:
            if self._pictures is None:
                self._pictures = _Pictures(self._picture, self._tracks, self._style, frame)
            self._mux(self._pictures.take(frame))
        elif self._picture is not None and self._pictures is None:
            self._waiting.append(frame)
            return
        else:
            self._say(frame)
        while self._waiting and self._pictures is not None:
            self._say(self._waiting.pop(0))

    def _mux(self, packets: list[Any]) -> None:
        self._container.mux(packets)
        self._wrote |= bool(packets)

    def _say(self, frame: Any) -> None:
        """Write an audio frame at its time; audio before time zero is left out."""
        if self._resampler is None:
            self._resampler = Mixer(self._layout, self._sound_rate)
            time = 0.0 if frame is None or frame.time is None else frame.time - self._tracks.origin
            self._said = round(time * self._sound_rate)
        for piece in self._resampler.flush() if frame is None else self._resampler.mix(frame):
            # A codec pads its last block, so audio beyond the declared end is cut off.
            if self._said + piece.samples > self._sound_end:
                piece = _cut_sound(piece, self._sound_end - self._said)
            if piece is None:
                return
            piece.pts, piece.time_base = self._said, Fraction(1, self._sound_rate)
            self._said += piece.samples
            # Audio from before the first frame has negative times and is dropped.
            if piece.pts >= 0:
                self._container.mux(self._sound.encode(piece))
                self._wrote = True

    @property
    def repaired(self) -> int:
        """Number of invalid samples; see `Mixer`."""
        return 0 if self._resampler is None else self._resampler.repaired

    def close(self) -> bool:
        """Finish the file; return whether anything was written to it."""
        import av

        try:
            if self._pictures is not None:
                self._mux(self._pictures.finish())
            if self._resampler is not None:
                self._say(None)
                self._container.mux(self._sound.encode(None))
            self._container.close()
        except av.error.FFmpegError:
            if self._wrote:
                raise
        return self._wrote


def _track_end(tracks: Tracks) -> float:
    """Return the declared end of the audio in seconds after time zero; a codec pads its last block beyond it."""
    track = tracks.audio
    if not track.duration or track.start_time is None:
        return 1e9
    return float((track.start_time + track.duration) * track.time_base) - tracks.origin


def _cut_sound(piece: Any, samples: int) -> Any:
    """Return the first samples of an audio frame, None for none."""
    import av
    import numpy as np

    if samples <= 0:
        return None
    kept = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(piece.to_ndarray()[:, :samples]), format="fltp", layout=piece.layout.name
    )
    kept.sample_rate = piece.sample_rate
    return kept


class _Pictures:
    """Video track: frames as they are displayed, at their times or on a grid, encoded as H.264.

    A frame is held until the next one determines its duration. On a grid every time `k / fps` gets the frame shown at
    it, as in `decode`, and the grid ends with the last frame. If the grid is as fine as the average spacing of frames,
    the last frame is not lost: if no grid time falls into its duration, it gets the next one.
    """

    def __init__(self, stream: Any, tracks: Tracks, style: _Style, first: Any):
        source = tracks.video
        self._stream, self._rate, self._origin = stream, style.rate, tracks.origin
        self._tick = float(source.time_base)
        self._spacing = 1.0 / float(source.average_rate or source.guessed_rate or 25)
        self._limits = style.limits
        self._shown = Shown(style.name, style.deinterlace, style.tone_map)
        self._turn = orientation(first)
        self._size = _even_size(first, style.short_side, pixel_aspect(source))
        self._matrix = tag_as(stream, self._show(first))
        height, width = self._size
        stream.height, stream.width = (width, height) if self._turn[0] else (height, width)
        stream.codec_context.time_base = 1 / style.rate if style.rate else TIME_BASE
        self._encoder = PictureEncoder(stream)
        self._held: Any = None
        self._time = -math.inf
        self._count = self._taken = 0

    def take(self, frame: Any) -> list[Any]:
        """Return the packets of the frame before this one."""
        # Demuxers of programme streams guess the time stamps of some frames, and may guess the same one twice.
        time = self._time + self._spacing if frame.pts is None else frame.pts * self._tick - self._origin
        time = self._time + self._spacing if time <= self._time else time
        if time < -SLACK:
            return []
        time = max(0.0, time)
        before = max(self._time, 0.0)
        try:
            check_time(before, time, self._limits, "picture")
        except MediaError as error:
            raise MediaError(f"{self._shown.name}: {error}") from None
        packets = self._until(time)
        self._held, self._time, self._taken = frame, time, self._taken + 1
        self._spacing = min(self._limits.gap, (frame.duration or 0) * self._tick or self._spacing)
        return packets

    def finish(self) -> list[Any]:
        """Return the packets of the last frame, and the rest from the encoder."""
        return [*self._until(self._time + self._spacing, last=True), *self._encoder.finish()]

    def _until(self, end: float, last: bool = False) -> list[Any]:
        """Return the packets of the held frame, which is shown until `end`."""
        if self._held is None:
            return []
        if self._rate is None:
            stamps = [round(self._time / TIME_BASE)]
            stay = round(end / TIME_BASE) - stamps[0]
        else:
            # At 10 frames a second, a frame shown from 0.12 to 0.31 s gets the grid times 2 and 3 (0.2 and 0.3 s).
            count = grid_count(end, float(self._rate))
            # The grid is at least as fine as the frames: give the last frame one more grid time.
            if last and (self._taken <= end * self._rate or not self._count):
                count = max(count, self._count + 1)
            stamps, stay = range(self._count, count), 1
        if not stamps:
            return []
        picture = self._convert(self._held)
        packets = []
        for self._count in stamps:
            packets += self._encoder.encode(picture, self._count, stay)
        self._count += 1
        return packets

    def _show(self, frame: Any) -> Any:
        return self._shown.show(frame, *self._size, interpolation("bicubic"))

    def _convert(self, frame: Any) -> Any:
        """Return the upright frame in the track's matrix, 4:2:0, limited range."""
        height, width = self._size
        made = reformatter().reformat(
            self._show(frame), width, height, "yuv420p", interpolation=interpolation("bicubic"), threads=1,
            dst_colorspace=self._matrix, dst_color_range=LIMITED,
        )  # fmt: skip
        made = turned(made, *self._turn)
        made.pict_type = 0  # Let the encoder choose the key frames, not the source.
        return made


def _even_size(frame: Any, short_side: int | None, aspect: float) -> tuple[int, int]:
    """Return height and width with square pixels, before rotation; even, and shrunk to the short side."""
    height, width = shown_size(frame.height, frame.width, aspect)
    scale = 1.0 if short_side is None else min(1.0, short_side / min(height, width))
    # 4:2:0 needs even sides: 101 pixels become 100, and 1 pixel becomes 2.
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def _transcode_webp(source: MediaSource, style: _Style) -> bytes:
    """Transcode an animation, which is decoded as a whole because it is short."""
    from mmvideo.media.decode import decode
    from mmvideo.media.encode import encode
    from mmvideo.media.probe import probe

    info = probe(source, style.limits)
    side = None if style.short_side is None else min(style.short_side, info.width, info.height)
    clip = decode(source, fps=style.rate and float(style.rate), short_side=side)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "clip.mp4")
        if style.rate is None:
            encode(out, clip.frames, None, times=clip.times, seconds=clip.seconds, crf=style.crf, gop=style.gop)
        else:
            encode(out, clip.frames, style.rate, crf=style.crf, gop=style.gop)
        with open(out, "rb") as file:
            return file.read()
