"""Many generated files side by side: each whole or not there, those that are there kept, a manifest last of all."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.parallel.cores import usable_cores

TOGETHER = 8
"""Files that a process writes between two looks for more; twice as many are worth a process of their own."""


def is_whole(path: Path) -> bool:
    """Whether a file is an mp4 whose top-level boxes, `moov` and `mdat` among them, end where the file ends."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            kinds, place = set(), 0
            while place < size:
                file.seek(place)
                head = file.read(16)
                length, kind = int.from_bytes(head[:4], "big"), head[4:8]
                length = int.from_bytes(head[8:16], "big") if length == 1 else length
                if length < 8:
                    return False
                kinds.add(kind)
                place += length
            return place == size and {b"moov", b"mdat"} <= kinds
    except OSError:
        return False


def check_splits(splits: Mapping[str, int]) -> None:
    """Looks at the names and sizes of splits.

    Raises:
        ValueError: a split without a usable name or number.
    """
    for name, count in splits.items():
        if not name.replace("_", "").replace("-", "").isalnum() or count < 0:
            raise ValueError(f"shapes: split {name!r} with {count} clips; use letters, digits, - and _, and 0 or more")


def claim(path: Path, config: Any) -> None:
    """Notes the settings (a dataclass) in the folder, or checks that they are the ones noted there.

    Raises:
        ValueError: the folder holds files of other settings.
    """
    wanted = dataclasses.asdict(config)
    if not path.exists():
        _replace(path, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = {}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        names = ", ".join(differing)
        raise ValueError(f"{path.parent} holds shapes of other settings ({names}); choose another folder or remove it")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a manifest, whole or not at all."""
    _replace(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_files(
    write: Callable[[Any], Path], jobs: Sequence[Any], total: int, processes: int | None, bar: bool
) -> None:
    """Does jobs in this process or several.

    Args:
        write: does one of them; processes must be able to pickle it and the jobs.
        jobs: what is left to do.
        total: how many there were.
        processes: processes side by side; None is one a core, 1 stays in this process.
        bar: whether to draw a progress bar.

    Raises:
        OSError: a process died.
    """
    with _bar(total, total - len(jobs), bar) as advance:
        for _ in _each_done(write, jobs, processes):
            advance()


def _replace(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _each_done(write: Callable[[Any], Path], jobs: Sequence[Any], processes: int | None) -> Iterator[Path]:
    processes = usable_cores() if processes is None else max(1, processes)
    processes = min(processes, -(-len(jobs) // (2 * TOGETHER)))
    if processes <= 1:
        yield from map(write, jobs)
        return
    # Spawned, not forked: the caller may hold JAX's threads, which a fork would copy in mid-air.
    context = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
            yield from pool.map(write, jobs, chunksize=TOGETHER)
    except concurrent.futures.process.BrokenProcessPool:
        raise OSError(
            "a process that wrote clips died; run again to go on, with processes=1 if memory is short or if "
            "the calling script has no `if __name__ == '__main__':`"
        ) from None


@contextlib.contextmanager
def _bar(total: int, done: int, shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar, or nothing."""
    if not shown:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("sounding shapes", total=total, completed=done)
        yield lambda: bar.advance(task)
