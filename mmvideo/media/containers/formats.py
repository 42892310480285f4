"""Facts about containers that their demuxers do not report: the reliability of lengths and time stamps."""

from __future__ import annotations

import struct
from typing import Any

DEMUXERS = (
    "mov", "matroska", "avi", "asf", "flv", "mpegts", "mpeg", "mpegvideo", "m4v", "mxf", "nut", "ogg", "gif", "apng",
    "ivf", "obu", "av1", "h264", "hevc", "vvc", "vc1", "dv", "rm", "wtv", "swf", "mjpeg", "yuv4mpegpipe", "wav", "w64",
    "aiff", "au", "caf", "mp3", "aac", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp", "flac", "ape", "tta", "tak",
    "wv", "amr", "amrnb", "amrwb", "loas", "voc", "sox", "rso", "mpc", "mpc8", "wsd", "dsf", "iff", "shn", "oma", "gsm",
    "qcp", "image2", "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe",
)  # fmt: skip
"""Demuxers that are used. Those left out open other files or addresses (hls, dash, concat, sdp, rtsp), or accept
anything as media (tty)."""

UNSEEKABLE = frozenset({"mp3", "aac", "mpeg", "gif", "asf"})
"""Formats whose time stamps after a seek are guesses (mp3, aac, MPEG programme streams, asf), or whose frames depend on
all earlier ones (gif)."""

BYTES_AS_TIME = frozenset({"wav", "w64", "aiff", "caf", "au", "rso", "sox", "voc"})
"""Formats that compute a time stamp from the byte position, which is exact only for samples of constant size."""

LENGTHS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi", "flac", "mxf", "ape", "tta", "tak", "wv"}) | BYTES_AS_TIME
"""Formats whose headers declare their length. FFmpeg estimates it for all others: from the first bit rate (mp3 and aac
without a table), or from the last time stamps (MPEG streams)."""

ENDS = frozenset({"matroska,webm", "asf", "nut", "ogg", "flv"})
"""Formats whose headers declare their end, on their own clock. Writers of flv differ: for some it is the length."""

NO_FRAMES = 1 << 28
"""Smallest number of frames that an AVI written to a pipe claims; no real file has so many."""

OPEN_ENDED = 0x7FFF_F000
"""Smallest number of audio bytes that a WAV written to a pipe claims, because its writer cannot go back to the header.
FFmpeg writes 2^32 - 1, others slightly less than 2^31."""


def seekable(container: Any, tracks: Any) -> bool:
    """Return whether the time stamps of packets after a seek equal those of a read from the start."""
    name = container.format.name
    if name in UNSEEKABLE:
        return False
    sound = tracks.audio.codec_context.name if tracks.audio is not None else ""
    if name in BYTES_AS_TIME:
        return sound.startswith("pcm_")
    # The last page of FLAC in Ogg gets the time stamp of the page before.
    return not (name == "ogg" and sound == "flac")


def is_open_ended_wav(head: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes with this head is a WAV whose audio lasts to the end of the file.

    Its chunks are `fmt ` and others, each with 4 bytes of length, little endian, then `data`. In RF64 the length of
    `data` is -1, and the valid one is in `ds64` (EBU Tech 3306).
    """
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        return False
    at, long = 12, None
    while at + 8 <= len(head):
        name, length = head[at : at + 4], struct.unpack_from("<I", head, at + 4)[0]
        if name == b"ds64" and at + 24 <= len(head):
            long = struct.unpack_from("<Q", head, at + 16)[0]
        if name == b"data":
            if head[:4] == b"RF64" and length == 0xFFFF_FFFF and long is not None:
                length = long
            # Length 0 with audio after it, or a huge length beyond the end of the file, is an open end.
            there = size - at - 8
            return (length == 0 < there) or (length >= OPEN_ENDED and length > there)
        # Chunks start at even bytes: one of length 5 at byte 12 takes 8 + 5 + 1, and the next starts at 26.
        at += 8 + length + length % 2
    return False
