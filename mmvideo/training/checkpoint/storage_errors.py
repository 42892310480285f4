"""When a folder cannot be written or read: what failed, where, and what to do.

Python tells such errors by their number, TensorStore by the system's words for it in a longer message.
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
"""What to do about an error, by its number."""

WRITING_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Those that come from writing whatever the file: nothing but a run's own folder is written."""


class StorageError(OSError):
    """A folder could not be written or read: what, where, and what to do."""


def storage_number(error: BaseException) -> int | None:
    """The number of the system's error behind an exception; None where storage is not to blame."""
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    if isinstance(error, OSError) and error.errno in ADVICE:
        return error.errno
    words = str(error)
    return next((number for number in ADVICE if os.strerror(number).lower() in words.lower()), None)


def storage_error(error: BaseException, what: str, folder: Path, after: str = "") -> StorageError | None:
    """The error told in one line; None where storage is not to blame.

    Args:
      error: what was raised.
      what: could not be done, such as `the checkpoint of step 4 could not be written`.
      folder: where.
      after: what is left, and how to go on.
    """
    number = storage_number(error)
    if number is None:
        return None
    room = f", {_free(folder)} free" if number in (errno.ENOSPC, errno.EDQUOT) else ""
    words = "it took too long" if number == errno.ETIMEDOUT else os.strerror(number)
    return StorageError(f"{what} in {folder}: {words}{room}; {ADVICE[number]}{after}")


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Tells errors of storage within as those of `folder`, unless they have been told already or are of other files.

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
        if told is None or not (inside or error.errno in WRITING_ONLY):
            raise
        raise told from error


def _free(folder: Path) -> str:
    """Room that is left, in words."""
    while not folder.exists():
        folder = folder.parent
    return size_in_words(shutil.disk_usage(folder).free)


def size_in_words(count: float) -> str:
    """Such as `1.3 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
