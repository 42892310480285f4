"""Probe of a folder for a run: persistence and speed of writing and reading."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import time
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Storage:
    """Result of a storage probe.

    Attributes:
      write: bytes a second until they are on the disk.
      read: bytes a second, bypassing the page cache where the system allows it.
      free: free bytes.
    """

    write: float
    read: float
    free: int


def try_storage(folder: str | Path, size: int = 64 * 2**20) -> Storage:
    """Write a file as a checkpoint is written (temporary name, fsync, rename), read it, and remove it.

    Args:
      folder: a workdir; if it does not exist, its nearest existing parent is used.
      size: size of the file in bytes.

    Raises:
      OSError: a part of this is not possible.
      ValueError: the bytes read differ from the bytes written.
    """
    folder = _existing(Path(folder).absolute())
    # Random bytes, which a file system that compresses can hardly shrink.
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
    """Return the folder, or its nearest existing parent."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _forget(path: Path) -> None:
    """Drop the file from the page cache, so that reading it uses the storage."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
