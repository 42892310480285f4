"""Whether a folder can hold a run: what is written there stays, and how fast it comes and goes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import time
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Storage:
    """What a trial of a folder gave.

    Attributes:
      write: bytes a second until they are on the disk.
      read: bytes a second, past the host's memory where the system allows it.
      free: bytes that are left.
    """

    write: float
    read: float
    free: int


def try_storage(folder: str | Path, size: int = 64 * 2**20) -> Storage:
    """Writes a file as a checkpoint is written (another name, fsync, rename), reads it, and removes it.

    Args:
      folder: a workdir; where it isn't there yet, the nearest folder above it that is gets the file.
      size: bytes of the file.

    Raises:
      OSError: something of it is not possible.
      ValueError: what is read is not what was written.
    """
    folder = _existing(Path(folder).absolute())
    content = os.urandom(min(size, 2**20)) * -(-size // 2**20)
    name = f".doctor-{socket.gethostname()}-{os.getpid()}"  # Other hosts may try the same folder.
    fresh, whole = folder / f"{name}.new", folder / name
    try:
        start = time.perf_counter()
        _write(fresh, content)
        fresh.replace(whole)
        written = time.perf_counter()
        _forget(whole)
        begun = time.perf_counter()
        back = whole.read_bytes()
        read = time.perf_counter()
    finally:
        for path in (fresh, whole):
            path.unlink(missing_ok=True)
    if back != content:
        raise ValueError(f"{folder}: a file that was just written comes back with other bytes; do not train there")
    rates = [len(content) / max(seconds, 1e-9) for seconds in (written - start, read - begun)]
    return Storage(*rates, free=shutil.disk_usage(folder).free)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _forget(path: Path) -> None:
    """Lets the system forget the file's pages, so that reading it asks the storage."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
