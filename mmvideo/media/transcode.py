"""Rewrite a media file as a small MP4 that is quick to decode: streamed, whatever its length."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from typing import Any

from mmvideo.media.container import MediaError, MediaSource, Tracks, find_tracks, is_webp, open_media, source_name
from mmvideo.media.mp4 import AAC_RATES, MP4_OPTIONS, audio_stream, tag_colours, tune_video, video_stream
from mmvideo.media.pictures import orientation
from mmvideo.media.sound import MIX_DOWN

TIME_BASE = Fraction(1, 90000)
"""Clock of the pictures that keep their own times; 90 kHz holds all common rates exactly."""


def transcode(
    source: MediaSource,
    *,
    short_side: int | None = None,
    gop: int | None = None,
    fps: float | int | None = None,
    crf: int = 23,
    preset: str = "veryfast",
    audio_bitrate: int = 96000,
) -> bytes:
    """The file's first picture and sound track as H.264 and AAC in MP4; a track it lacks stays absent.

    The picture is set upright, its sides are made even, and time zero is its first frame. The sound keeps its
    rate, if AAC has it, and at most two channels.

    Args:
      source: a path, or the bytes of a whole file.
      short_side: shrink so that the shorter side has so many pixels; a smaller picture is left alone.
      gop: most frames from one key frame to the next, the cost of reaching a frame; None lets x264 choose.
      fps: constant frame rate; None keeps every frame and its time.
      crf: x264's constant rate factor, 0 lossless to 51.
      preset: x264's preset.
      audio_bitrate: bits a second of the sound.

    Raises:
      MediaError: the file cannot be opened, or nothing of it can be decoded.
    """
    if is_webp(source):
        return _transcode_webp(source, short_side, gop, fps, crf)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "clip.mp4")
        with open_media(source) as container:
            tracks = find_tracks(container, source_name(source))
            writer = _Writer(out, tracks, short_side, gop, fps, crf, preset, audio_bitrate)
            written = _copy(container, tracks, writer)
        if not written:
            raise MediaError(
                f"{source_name(source)}: nothing of it can be decoded; it is damaged or in an unknown codec"
            )
        with open(out, "rb") as file:
            return file.read()


def _copy(container: Any, tracks: Tracks, writer: _Writer) -> bool:
    """Decode every packet and hand its frames to the writer; damaged parts are left out. Whether there were any."""
    import av

    streams = [s for s in (tracks.video, tracks.audio) if s is not None]
    for stream in streams:
        stream.codec_context.thread_count = 1
    try:
        for packet in container.demux(*streams):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                writer.write(frame, packet.stream is tracks.video)
    except av.error.FFmpegError:
        pass  # The file ends early: what was read is kept.
    return writer.close()


class _Writer:
    """An MP4 that opens when the first frame of a track tells what it is like."""

    def __init__(
        self, path: str, tracks: Tracks, short_side: int | None, gop: int | None, fps: float | int | None, crf: int,
        preset: str, audio_bitrate: int,
    ):  # fmt: skip
        import av

        self._container = av.open(path, "w", format="mp4", options=MP4_OPTIONS)
        self._tracks, self._short_side, self._fps, self._bitrate = tracks, short_side, fps, audio_bitrate
        self._picture = self._sound = self._graph = self._resampler = None
        if tracks.video is not None:
            rate = Fraction(fps).limit_denominator(1001) if fps else tracks.video.average_rate or Fraction(25)
            self._rate = Fraction(rate)
            self._picture = video_stream(self._container, 16, 16, self._rate)
            tune_video(self._picture, crf, gop, preset)
        if tracks.audio is not None:
            context = tracks.audio.codec_context
            self._sound_rate = context.sample_rate if context.sample_rate in AAC_RATES else 48000
            self._layout = "mono" if context.channels == 1 else "stereo"
            self._sound_end = round(_track_end(tracks) * self._sound_rate)
            self._sound = audio_stream(self._container, self._sound_rate, self._layout, audio_bitrate)
        self._waiting: list[tuple[Any, bool]] = []
        self._said: int | None = None
        self._wrote = False

    def write(self, frame: Any, is_picture: bool) -> None:
        """Take a decoded frame. Sound waits for the first picture, which sets the size in the file's header."""
        if self._picture is not None and self._graph is None and not is_picture:
            self._waiting.append((frame, False))
            return
        if is_picture:
            if self._graph is None:
                self._graph = self._filters(frame)
            self._push(frame)
        else:
            self._say(frame)
        while self._waiting and self._graph is not None:
            self._say(self._waiting.pop(0)[0])

    def _filters(self, frame: Any) -> Any:
        """Set upright, bring to the frame rate, scale and convert, in FFmpeg's own filters."""
        import av

        stream = self._tracks.video
        transposed, flip_y, flip_x = orientation(frame)
        in_rgb = frame.format.is_rgb
        tag_colours(self._picture, None if in_rgb else stream.codec_context)
        height, width = _even_size(frame, transposed, self._short_side, stream.codec_context.sample_aspect_ratio)
        self._picture.width, self._picture.height = width, height
        self._picture.codec_context.time_base = 1 / self._rate if self._fps else TIME_BASE
        steps: list[tuple[str, str | None]] = []
        if transposed:
            steps.append(("transpose", "cclock_flip"))  # This mode is the plain transpose.
        steps += [("vflip", None)] * flip_y + [("hflip", None)] * flip_x
        if self._fps:
            steps.append(("fps", f"fps={self._rate}:round=near:start_time=0"))
        steps += [
            # The colours keep their matrix, as a change of it costs a rounding, unless they had none.
            ("scale", f"{width}:{height}:flags=bicubic:out_range=tv{':out_color_matrix=bt709' * in_rgb}"),
            ("setsar", "1"),
            ("format", "yuv420p"),
        ]
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=stream, time_base=stream.time_base)]
        nodes += [graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in steps]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph

    def _push(self, frame: Any) -> None:
        """A picture through the filters, `None` at the end of them."""
        import av

        if frame is not None:
            if frame.pts is None:
                return
            frame.pts -= round(self._tracks.origin / frame.time_base)
            frame.pict_type = 0
        self._graph.push(frame)
        while True:
            try:
                shown = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            shown.pict_type = 0  # Let the encoder choose the key frames, not the source.
            self._container.mux(self._picture.encode(shown))
            self._wrote = True

    def _say(self, frame: Any) -> None:
        """A piece of sound, placed by its time; sound from before time zero is left out."""
        import av

        if self._resampler is None:
            self._resampler = av.AudioResampler("fltp", self._layout, self._sound_rate, options=MIX_DOWN)
            time = 0.0 if frame is None or frame.time is None else frame.time - self._tracks.origin
            self._said = round(time * self._sound_rate)
        if frame is not None:
            frame.pts = None
        for piece in self._resampler.resample(frame):
            if self._said + piece.samples > self._sound_end:
                piece = _cut_sound(piece, self._sound_end - self._said)
            if piece is None:
                return
            piece.pts, piece.time_base = self._said, Fraction(1, self._sound_rate)
            self._said += piece.samples
            if piece.pts >= 0:
                self._container.mux(self._sound.encode(piece))
                self._wrote = True

    def close(self) -> bool:
        """Finish the file. Whether anything was written to it."""
        import av

        try:
            if self._graph is not None:
                self._push(None)
                self._container.mux(self._picture.encode(None))
            if self._resampler is not None:
                self._say(None)
                self._container.mux(self._sound.encode(None))
            self._container.close()
        except av.error.FFmpegError:
            if self._wrote:
                raise
        return self._wrote


def _track_end(tracks: Tracks) -> float:
    """Declared end of the sound in seconds after time zero; a codec's last block is filled up behind it."""
    track = tracks.audio
    if not track.duration or track.start_time is None:
        return 1e9
    return float((track.start_time + track.duration) * track.time_base) - tracks.origin


def _cut_sound(piece: Any, samples: int) -> Any:
    """The first so many samples of a piece of sound, None for none."""
    import av
    import numpy as np

    if samples <= 0:
        return None
    kept = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(piece.to_ndarray()[:, :samples]), format="fltp", layout=piece.layout.name
    )
    kept.sample_rate = piece.sample_rate
    return kept


def _even_size(frame: Any, transposed: bool, short_side: int | None, aspect: Fraction | None) -> tuple[int, int]:
    """Height and width of the upright picture with square pixels, even, shrunk to the short side."""
    height, width = frame.height, frame.width * float(aspect or 1)
    if transposed:
        height, width = width, height
    scale = 1.0 if short_side is None else min(1.0, short_side / min(height, width))
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def _transcode_webp(
    source: MediaSource, short_side: int | None, gop: int | None, fps: float | int | None, crf: int
) -> bytes:
    """An animation, decoded whole, since it is short, at a constant frame rate."""
    from mmvideo.media.decode import decode
    from mmvideo.media.encode import encode
    from mmvideo.media.probe import probe

    info = probe(source)
    side = None if short_side is None else min(short_side, info.width, info.height)
    clip = decode(source, fps=fps or info.fps, short_side=side)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "clip.mp4")
        encode(out, clip.frames, fps or info.fps, crf=crf, gop=gop)
        with open(out, "rb") as file:
            return file.read()
