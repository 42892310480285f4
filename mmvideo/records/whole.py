"""Atomic replacement of files; incomplete drafts of killed processes are removed by the next write."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

LONG = 3600.0
"""Seconds after which a draft of another host counts as abandoned; a draft is written in moments."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it, so that no reader ever sees an incomplete file."""
    with draft_of(path) as draft:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def draft_of(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary name, which becomes `path` at the end of the block; on an error nothing remains of it.

    Args:
      path: the file; its folder is created if missing.
      suffix: required suffix of the draft, such as `.npz`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_drafts(path)
    draft = draft_name(path, suffix)
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def draft_name(path: Path, suffix: str = "") -> Path:
    """Return this process's name for a draft of a file, which identifies its writer to others."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}.new{suffix}")


def sweep_drafts(path: Path) -> None:
    """Remove drafts of a file whose writers are gone: dead on this host, or older than `LONG` on another."""
    form = re.compile(rf"\.{re.escape(path.name)}\.(?:(.+)-)?(\d+)(\.new.*)?")
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(f".{path.name}.")]
    for name in names:
        found = form.fullmatch(name)
        if found is None:
            continue
        draft = path.with_name(name)
        with contextlib.suppress(FileNotFoundError):
            here = found[1] == _host()
            # A process id means nothing on another host, so only age decides there.
            gone = not _lives(int(found[2])) if here else time.time() - draft.stat().st_mtime > LONG
            if gone:
                draft.unlink()


def _host() -> str:
    """Return the name of this host, without characters that a file name cannot hold."""
    return re.sub(r"[^\w.]", "_", socket.gethostname())


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
