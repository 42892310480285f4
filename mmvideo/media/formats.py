"""Facts about containers that their demuxers do not tell: which of them can be trusted after a seek."""

from __future__ import annotations

from typing import Any

UNSEEKABLE = frozenset({"mp3", "aac", "mpeg", "gif", "asf"})
"""Formats whose stamps after a seek are guesses (mp3, aac, MPEG programme streams, asf), or whose frames are drawn on
the ones before (gif)."""

BYTES_AS_TIME = frozenset({"wav", "w64", "aiff", "caf", "au", "rso", "sox", "voc"})
"""Formats that compute a stamp from the place in the file, which is exact for samples of constant size alone."""


def seekable(container: Any, tracks: Any) -> bool:
    """Tell if the stamps of packets after a seek are those of a read from the start."""
    name = container.format.name
    if name in UNSEEKABLE:
        return False
    sound = tracks.audio.codec_context.name if tracks.audio is not None else ""
    if name in BYTES_AS_TIME:
        return sound.startswith("pcm_")
    # The last page of FLAC in Ogg gets a stamp that is a page too early.
    return not (name == "ogg" and sound == "flac")
