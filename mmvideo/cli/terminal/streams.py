"""Output streams of a command: any encoding works, and a closed pipe ends the command silently, or not at all.

A command that only prints (`plan`, `compare`) has nothing left to do when nobody reads its output. A command that
writes files (`train`, `data build`) continues: hours of training do not end because a pager was closed.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TextIO

CLOSED = 141
"""Exit code of a command whose reader closed the pipe (`| head`): 128 + SIGPIPE, as shells report it."""


def take_any_text() -> None:
    """Let stdout and stderr print every character: those that their encoding lacks become `?`, or `\\udc80` in UTF-8.

    In the C locale, in Latin-1, or with file names that are not UTF-8, a message stays readable; an arrow that cannot
    be shown must not fail a run.
    """
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        with contextlib.suppress(AttributeError, ValueError):  # A replacement stream of a test or notebook.
            stream.reconfigure(errors="backslashreplace" if encoding == "utf8" else "replace")


def outlive_readers() -> None:
    """Let stdout and stderr drop what cannot be written, so that work continues without its reader, terminal or disk.

    A pipe whose reader is gone stays silent; one line on stderr says so, if stderr is still read. A full disk is tried
    again at the next line. Replacement streams of a test or notebook are left as they are.
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
            # With PYTHONUNBUFFERED the stream has no buffer, and every line is written at once.
            line_buffering=stream.line_buffering or isinstance(buffer, io.FileIO),
        )
        setattr(sys, name, kept)


class _Dropping(io.FileIO):
    """A file descriptor that accepts every byte, and drops those that it cannot write.

    Args:
      number: descriptor, which stays open when this object is closed.
      name: name of the stream in the message about the first loss.
    """

    def __init__(self, number: int, name: str):
        # The descriptor belongs to the process: closing this object must not close its stdout.
        super().__init__(number, "w", closefd=False)
        self._called, self._told = name, False

    def write(self, data: bytes | memoryview) -> int:
        """Write the bytes, or drop them; return how many were accepted."""
        try:
            return super().write(data)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                _redirect_to_nowhere(self.fileno())
            if not self._told and self._called == "stdout":
                self._told = True
                why = " ".join(str(error.strerror).split())
                print(f"mmvideo: stdout can't be written ({why}); the work goes on without it", file=sys.stderr)
            # Dropped bytes count as written, or the buffer above would offer them again and again.
            return memoryview(data).nbytes


def reader_is_gone(stream: TextIO) -> bool:
    """Return True if the reader of this stream has closed it: a BrokenPipeError then comes from it, not a file."""
    try:
        watch = select.poll()
        watch.register(stream.fileno(), 0)
        # A pipe without a reader is in the state POLLERR; registering for no event still reports errors.
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
    except (AttributeError, OSError, ValueError):
        return False


def leave_quietly() -> int:
    """Redirect closed streams to /dev/null, so that Python does not complain when it exits; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if reader_is_gone(stream):
            _redirect_to_nowhere(stream.fileno())
    return CLOSED


def _redirect_to_nowhere(number: int) -> None:
    """Redirect a file descriptor to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
