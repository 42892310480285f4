"""The length of a file: as its headers say it, or counted where they only estimate it."""

from __future__ import annotations

from typing import Any

from mmvideo.media.containers.formats import ENDS, LENGTHS, NO_FRAMES

TICKS_A_SECOND = 1_000_000
"""FFmpeg gives the duration of a container in microseconds (`AV_TIME_BASE`)."""

NEAR_ZERO = 0.1
"""Seconds up to which a file begins at its own zero, give or take an encoder's delay."""

LAST_BLOCK = 0.15
"""Seconds no codec's block exceeds (AAC's are 1024 samples, 128 ms at 8 kHz)."""


def declared_end(container: Any, streams: tuple[Any, ...], origin: float) -> tuple[float | None, bool]:
    """Return the end that the headers promise, in seconds after `origin`, and whether it is sure.

    An end that is not sure is never too late, so that a file which ends before it is cut short; there may be more.
    None if the headers promise nothing, or FFmpeg only estimates it.
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
    """Return the number of the picture's packets and the end of the last packet, in seconds after the origin.

    The container must be at its start. Of a file that ends early it is what can be read.
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
            length = float(packet.duration * packet.time_base) if packet.duration else spacing * is_picture
            last = max(last, float(stamp * packet.time_base) + length - tracks.origin)
    except av.error.FFmpegError:
        pass
    # A programme stream stamps blocks and not frames: there the last ones are known by their number.
    return frames, max(last, frames * spacing) if unstamped else last


def counted_length(container: Any, tracks: Any) -> tuple[int, float]:
    """Return what `count_packets` does, less the last block's filling where FFmpeg knows it.

    The lengths of mp3 with a table are exact to the sample; an estimate that fits to a block is one of those.
    """
    frames, last = count_packets(container, tracks)
    streams = [s for s in (tracks.video, tracks.audio) if s is not None and s.duration]
    ends = [float(((s.start_time or 0) + s.duration) * s.time_base) - tracks.origin for s in streams]
    exact = tracks.video is None and ends and 0 <= last - max(ends) < LAST_BLOCK
    return frames, max(ends) if exact else last
