"""Errors of reading or writing a folder, with cause, path and remedy.

Python reports such errors by number, TensorStore by the system's text within a longer message.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

ADVICE = {
    errno.ENOSPC: "free space there, or lower training.keep",
    errno.EDQUOT: "free space there or have the quota raised, or lower training.keep",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or take another file system",
    errno.EROFS: "have it mounted for writing, or take another folder",
    errno.EACCES: "get the right to write there, or take another folder",
    errno.EPERM: "get the right to write there, or take another folder",
    errno.EIO: "look after the disk or the file server",
    errno.ESTALE: "look after the file server",
    errno.ETIMEDOUT: "storage is too slow or hangs: take a faster one, or look after the file server",
}
"""Remedy for each error number."""

WRITING_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors that only writing raises; a run writes only in its own folder, so they concern it whatever the file."""


class StorageError(OSError):
    """A folder could not be written or read; the message has cause, path and remedy."""


def storage_number(error: BaseException) -> int | None:
    """Return the system's error number of an exception; None if storage is not the cause."""
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    if isinstance(error, OSError) and error.errno in ADVICE:
        return error.errno
    # TensorStore's message contains the system's text, e.g. "… Disk quota exceeded …", but no number.
    words = str(error)
    return next((number for number in ADVICE if os.strerror(number).lower() in words.lower()), None)


def storage_error(error: BaseException, what: str, folder: Path, after: str = "") -> StorageError | None:
    """Return the error as a one-line message; None if storage is not the cause.

    Args:
      error: the exception.
      what: failed action, such as `the checkpoint of step 4 could not be written`.
      folder: folder of the action.
      after: remains, and how to continue.
    """
    number = storage_number(error)
    if number is None:
        return None
    room = f", {_free(folder)} free" if number in (errno.ENOSPC, errno.EDQUOT) else ""
    words = "it took too long" if number == errno.ETIMEDOUT else os.strerror(number)
    return StorageError(f"{what} in {folder}: {words}{room}; {ADVICE[number]}{after}")


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Convert storage errors in the block into those of `folder`, except converted ones and those of other files.

    Raises:
      StorageError: in place of the OSError.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        inside = error.filename is not None and Path(str(error.filename)).resolve().is_relative_to(folder.resolve())
        name = Path(str(error.filename)).name if inside else "a file"
        told = storage_error(error, f"{name} could not be written", folder, "; then run the same command to resume")
        # EACCES of an unrelated file is not the workdir's fault, but ENOSPC without a file name is.
        if told is None or not (inside or error.errno in WRITING_ONLY):
            raise
        raise told from error


def _free(folder: Path) -> str:
    """Return the free space as text."""
    while not folder.exists():
        folder = folder.parent
    return size_in_words(shutil.disk_usage(folder).free)


def size_in_words(count: float) -> str:
    """Return a size as text, such as `1.3 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
