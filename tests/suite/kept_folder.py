"""The folder in which runs of the tests on one machine keep what the next run can use again."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

DAYS = 30
"""Files that no run has written or read for so long are removed."""


def kept_folder() -> Path:
    """Return the folder for this interpreter, these versions of JAX and this processor.

    It lies in `MMVIDEO_TEST_CACHE`, or in `~/.cache/mmvideo/tests`, outside of the checkout: a fresh clone finds it.
    A program that was compiled for one processor must not be run on another, so both are part of the name.
    """
    root = os.environ.get("MMVIDEO_TEST_CACHE")
    if not root:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mmvideo" / "tests"
    versions = "-".join(f"{name}{version(name)}" for name in ("jax", "jaxlib", "flax"))
    return Path(root).absolute() / f"python{platform.python_version()}-{versions}-{_processor()}"


def code_digest(*folders: Path) -> str:
    """Return a digest of the Python files below the folders: what such code made is used again only with the same."""
    found = hashlib.sha256()
    for file in sorted(file for folder in folders for file in folder.rglob("*.py")):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:12]


def remove_unused(folder: Path) -> None:
    """Remove files that were neither written nor read for `DAYS` days."""
    oldest = time.time() - DAYS * 24 * 3600
    for file in folder.rglob("*") if folder.is_dir() else ():
        try:
            found = file.stat()
            if file.is_file() and max(found.st_mtime, found.st_atime) < oldest:
                file.unlink()
        except FileNotFoundError:  # Another run was faster.
            continue


def _processor() -> str:
    """Return a digest of the processor's name and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.machine(), platform.processor()]
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))} or lines)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
