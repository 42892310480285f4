"""The terminal's side of a command: any encoding will do, and a reader that goes away ends it quietly."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TextIO

CLOSED = 141
"""Exit code of a command whose reader went away (`| head`): 128 + SIGPIPE, as a shell tells of one that it ended."""


def take_any_text() -> None:
    """Let stdout and stderr write every character: what their encoding lacks becomes `?`, or `\\udc80` in UTF-8.

    In the C locale, in Latin-1, or on bytes of a file name that are no UTF-8, a sentence is still a sentence; an
    arrow that can't be shown is no reason for a run to fail.
    """
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        with contextlib.suppress(AttributeError, ValueError):  # A stream that a test or notebook has put there.
            stream.reconfigure(errors="backslashreplace" if encoding == "utf8" else "replace")


def reader_is_gone(stream: TextIO) -> bool:
    """Return whether the reader of this stream has closed it, so that a BrokenPipeError is theirs and not a file's."""
    try:
        watch = select.poll()
        watch.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
    except (AttributeError, OSError, ValueError):
        return False


def leave_quietly() -> int:
    """Point the streams that nobody reads at nothing, so that Python has no complaint at its end; the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if reader_is_gone(stream):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return CLOSED
