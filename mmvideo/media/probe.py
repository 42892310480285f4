"""Contents of a media file, from its headers."""

from __future__ import annotations

from typing import Any

from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.container import (
    MediaError,
    MediaInfo,
    MediaSource,
    find_tracks,
    is_webp,
    media_errors,
    open_media,
    source_name,
)
from mmvideo.media.containers.formats import NO_FRAMES
from mmvideo.media.containers.length import counted_length
from mmvideo.media.frames.frame_converter import pixel_aspect, shown_size
from mmvideo.media.frames.webp import probe_webp


def probe(source: MediaSource, limits: Limits = LIMITS) -> MediaInfo:
    """Return the contents of a file from its headers; missing counts come from packets, without decoding.

    Raises:
      MediaError: the file cannot be opened, has neither video nor audio, or exceeds the limits.
    """
    name = source_name(source)
    with media_errors(name):
        info = probe_webp(source, limits) if is_webp(source) else _probe(source, name, limits)
    if info.seconds > limits.seconds:
        raise MediaError(f"{name}: lasts {info.seconds:.3f} s, more than the limit of {limits.seconds:g} s")
    return info


def _probe(source: MediaSource, name: str, limits: Limits) -> MediaInfo:
    with open_media(source) as container:
        tracks = find_tracks(container, name, limits)
        video, audio = tracks.video, tracks.audio
        width = height = frames = rotation = 0
        fps, seconds = 0.0, tracks.ending if tracks.sure else None
        if video is not None:
            rotation = _rotation(container, video)
            height, width = shown_size(video.height, video.width, pixel_aspect(video))
            width, height = (height, width) if rotation in (90, 270) else (width, height)
            fps = float(video.average_rate or video.guessed_rate or 0)
            frames = video.frames if video.frames < NO_FRAMES else 0
        if (video is not None and not frames) or seconds is None:
            # Counting needs a container at its start, and reading the rotation has moved this one.
            with open_media(source) as fresh:
                frames, last = counted_length(fresh, find_tracks(fresh, name, limits))
            seconds = last if seconds is None else seconds
        if video is not None and not fps and seconds:
            fps = frames / seconds
        return MediaInfo(
            seconds=seconds,
            has_video=video is not None,
            has_audio=audio is not None,
            width=width,
            height=height,
            fps=fps,
            frames=frames,
            sample_rate=audio.codec_context.sample_rate if audio is not None else 0,
            channels=audio.codec_context.channels if audio is not None else 0,
            rotation=rotation,
            container=container.format.name,
        )


def _rotation(container: Any, video: Any) -> int:
    """Return the rotation of the video. PyAV reports it only for frames, so one is decoded, which moves the
    container."""
    import av

    try:
        frame = next(container.decode(video), None)
    except av.error.FFmpegError:
        return 0  # Damage at the start is not fatal for a probe.
    return 0 if frame is None else round(frame.rotation / 90) * 90 % 360
