"""Length of a file: declared by its headers, or counted if they only estimate it."""

from __future__ import annotations

from typing import Any

from mmvideo.media.containers.formats import ENDS, LENGTHS, NO_FRAMES

TICKS_A_SECOND = 1_000_000
"""FFmpeg gives the duration of a container in microseconds (`AV_TIME_BASE`)."""

NEAR_ZERO = 0.1
"""Largest start time, in seconds, that counts as zero, to allow for an encoder's delay."""

LAST_BLOCK = 0.15
"""Upper bound of the length of a codec's block, in seconds (AAC's are 1024 samples, 128 ms at 8 kHz)."""


def declared_end(container: Any, streams: tuple[Any, ...], origin: float) -> tuple[float | None, bool]:
    """Return the declared end, in seconds after `origin`, and whether it is certain.

    An uncertain end is never too late: a file that stops before it is cut short, but there may be more after it. The
    end is None if the headers declare none, or FFmpeg only estimates it.
    """
    name, tracks = container.format.name, [s for s in streams if s is not None]
    if name not in LENGTHS | ENDS or any(s.type == "video" and s.frames >= NO_FRAMES for s in tracks):
        return None, False
    if name in ENDS:
        ends = [float(s.duration * s.time_base) for s in tracks if s.duration]
        if not ends and container.duration:
            ends = [container.duration / TICKS_A_SECOND]
        sure = name != "flv" and (container.start_time or 0) <= NEAR_ZERO * TICKS_A_SECOND
        return (max(ends) - origin, sure) if ends and max(ends) > origin else (None, False)
    ends = [float(((s.start_time or 0) + s.duration) * s.time_base) for s in tracks if s.duration]
    if not ends and container.duration:
        ends = [(container.duration + (container.start_time or 0)) / TICKS_A_SECOND]
    return (max(ends) - origin, True) if ends and max(ends) > origin else (None, False)


def count_packets(container: Any, tracks: Any) -> tuple[int, float]:
    """Return the number of video packets and the end of the last packet, in seconds after the origin.

    The container must be at its start. For a file that ends early, the readable part counts.
    """
    import av

    frames, last, unstamped = 0, 0.0, False
    spacing = 0.0
    if tracks.video is not None:
        spacing = 1 / float(tracks.video.average_rate or tracks.video.guessed_rate or 25)
    try:
        for packet in container.demux(*(s for s in (tracks.video, tracks.audio) if s is not None)):
            if not packet.size:
                continue
            is_picture = packet.stream is tracks.video
            frames += is_picture
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None:
                unstamped |= is_picture
                continue
            # Audio packets know their duration; a video packet without one lasts an average frame.
            length = float(packet.duration * packet.time_base) if packet.duration else spacing * is_picture
            last = max(last, float(stamp * packet.time_base) + length - tracks.origin)
    except av.error.FFmpegError:
        pass
    # A programme stream has time stamps of blocks, not frames, so the number of frames gives the end of the last ones.
    return frames, max(last, frames * spacing) if unstamped else last


def counted_length(container: Any, tracks: Any) -> tuple[int, float]:
    """Return the result of `count_packets`, without the padding of the last block where FFmpeg knows it.

    The length of an mp3 with a table is exact to the sample; an estimate within a block of the count is such a length.
    """
    frames, last = count_packets(container, tracks)
    streams = [s for s in (tracks.video, tracks.audio) if s is not None and s.duration]
    ends = [float(((s.start_time or 0) + s.duration) * s.time_base) - tracks.origin for s in streams]
    # Counted 10.03 s and declared 10.00 s: the difference is within a block, so it is padding.
    exact = tracks.video is None and ends and 0 <= last - max(ends) < LAST_BLOCK
    return frames, max(ends) if exact else last
