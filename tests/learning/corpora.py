"""The clips that the lessons learn from: made once, and kept for later runs of the same code.

They lie in the folder of `MMVIDEO_CACHE`, under a digest of all code and versions that decide them, with the batches
that were decoded of them: a change of how clips are made, read or laid out makes them anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import mmvideo

DECIDING = ("datasets", "input", "media", "stream.py")
"""Rooms whose code decides clips and batches."""
LIBRARIES = ("array_record", "av", "grain", "numpy", "pyarrow", "sentencepiece")
GENERATIONS = 2
"""Digests that are kept beside each other: for instance those of two branches."""


@functools.cache
def folder() -> Path:
    """The folder of this code's clips and batches; those of older code are thrown away."""
    digest = hashlib.sha256("\n".join(f"{name} {version(name)}" for name in LIBRARIES).encode())
    root = Path(mmvideo.__file__).parent
    sources = [path for name in DECIDING for path in (root / name, *(root / name).rglob("*")) if path.is_file()]
    for path in sorted(path for path in [*sources, Path(__file__)] if "__pycache__" not in path.parts):
        digest.update(path.name.encode() + path.read_bytes())
    found = Path(os.environ["MMVIDEO_CACHE"]) / "lessons" / digest.hexdigest()[:16]
    found.mkdir(parents=True, exist_ok=True)
    os.utime(found)
    others = sorted((path for path in found.parent.iterdir() if path != found), key=lambda path: path.stat().st_mtime)
    for old in others[: 1 - GENERATIONS]:
        shutil.rmtree(old, ignore_errors=True)
    return found


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Of several test processes, one at a time: who comes later finds what the first has made."""
    with open(folder() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def plain(train: int = 1600, test: int = 512) -> str:
    """A corpus of sounding shapes without clutter, each clip of 20 or 21 small pictures."""
    return _built("plain", _writer(1.75, train, test), 400)


def many(train: int = 5000, test: int = 800) -> str:
    """A corpus of more and longer ones, of up to two seconds, for lessons that the plain one is too small for."""
    return _built("many", _writer(2.0, train, test), 256)


def _writer(longest: float, train: int, test: int) -> Callable[[Path], None]:
    """Writes clips of at most `longest` seconds into a folder."""
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    config = ShapesConfig(size=32, difficulty=0.0, longest=longest)
    return lambda out: write_shapes(out, config, splits={"train": train, "test": test}, processes=2)


def _built(name: str, write: Callable[[Path], None], vocabulary: int) -> str:
    """The corpus of that name, whose clips `write` writes into a folder; an interrupted build is done again."""
    from mmvideo.datasets.build import build

    out = folder() / name
    with locked(name):
        if not out.exists():
            work = folder() / f"{name}.part"
            shutil.rmtree(work, ignore_errors=True)
            write(work / "clips")
            build(
                work / "clips", work / "corpus", name=name, tokenizer_vocabulary=vocabulary, processes=2, progress=False
            )
            shutil.rmtree(work / "clips")
            (work / "corpus").rename(out)
            work.rmdir()
    return str(out)
