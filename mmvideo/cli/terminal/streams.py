"""The terminal's side of a command: any encoding will do, and a reader that goes away ends it quietly, or not at all.

A command whose product is its text (`plan`, `compare`) has nothing left to do when nobody reads it. One whose product
is files (`train`, `data build`) goes on: hours of training don't end because a pager was closed.
"""

from __future__ import annotations

import contextlib
import io
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


def outlive_readers() -> None:
    """Let stdout and stderr drop what can't be written, so that work goes on whose reader, terminal or disk is gone.

    A pipe whose reader went away stays silent; stderr says so once, if it is still read. A disk that is full is tried
    again with the next line. Streams that a test or notebook has put in place stay as they are.
    """
    for name in ("stderr", "stdout"):
        stream = getattr(sys, name)
        try:
            number, buffer = stream.fileno(), stream.buffer
        except (AttributeError, OSError, ValueError):
            continue
        if isinstance(getattr(buffer, "raw", buffer), _Dropping):
            continue
        stream.flush()
        kept = io.TextIOWrapper(
            io.BufferedWriter(_Dropping(number, name)),
            encoding=stream.encoding,
            errors=stream.errors,
            # PYTHONUNBUFFERED has no buffer beneath, and asks for each line at once.
            line_buffering=stream.line_buffering or isinstance(buffer, io.FileIO),
        )
        setattr(sys, name, kept)


class _Dropping(io.FileIO):
    """A file descriptor that takes every byte, and drops those that it can't write.

    Args:
      number: the descriptor, which stays open when this object ends.
      name: what the stream is called in the one line that tells of the first loss.
    """

    def __init__(self, number: int, name: str):
        super().__init__(number, "w", closefd=False)
        self._called, self._told = name, False

    def write(self, data: bytes | memoryview) -> int:
        """Write the bytes, or drop them; return how many were taken."""
        try:
            return super().write(data)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                _redirect_to_nowhere(self.fileno())
            if not self._told and self._called == "stdout":
                self._told = True
                why = " ".join(str(error.strerror).split())
                print(f"mmvideo: stdout can't be written ({why}); the work goes on without it", file=sys.stderr)
            return memoryview(data).nbytes


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
    for stream in (sys.stdout, sys.stderr):
        if reader_is_gone(stream):
            _redirect_to_nowhere(stream.fileno())
    return CLOSED


def _redirect_to_nowhere(number: int) -> None:
    """Let a file descriptor lead to nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
