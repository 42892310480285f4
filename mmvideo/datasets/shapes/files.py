"""Parallel writing of generated files: each appears complete, existing ones are kept, and the manifest is written
last."""

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
"""Number of files that a process writes in a batch; twice as many justify a process of their own."""


def is_whole(path: Path) -> bool:
    """Return whether a file is an MP4 whose top-level boxes, including `moov` and `mdat`, end where the file ends."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            kinds, place = set(), 0
            while place < size:
                file.seek(place)
                head = file.read(16)
                length, kind = int.from_bytes(head[:4], "big"), head[4:8]
                # A length of 1 means that the next 8 bytes hold it (ISO/IEC 14496-12, section 4.2).
                length = int.from_bytes(head[8:16], "big") if length == 1 else length
                if length < 8:
                    return False
                kinds.add(kind)
                place += length
            return place == size and {b"moov", b"mdat"} <= kinds
    except OSError:
        return False


def check_splits(splits: Mapping[str, int]) -> None:
    """Check the names and sizes of splits.

    Raises:
        ValueError: a split has no usable name or number.
    """
    for name, count in splits.items():
        if not name.replace("_", "").replace("-", "").isalnum() or count < 0:
            raise ValueError(f"shapes: split {name!r} with {count} clips; use letters, digits, - and _, and 0 or more")


def claim(path: Path, config: Any) -> None:
    """Write the settings (a dataclass) to the folder, or compare them with those already there.

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
    """Write a manifest, completely or not at all."""
    _replace(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_files(
    write: Callable[[Any], Path], jobs: Sequence[Any], total: int, processes: int | None, bar: bool
) -> None:
    """Run jobs in this process or several.

    Args:
        write: function that runs one job; it and the jobs must be picklable.
        jobs: the remaining jobs.
        total: number of all jobs.
        processes: number of parallel processes; None is one for each core, 1 stays in this process.
        bar: whether to draw a progress bar.

    Raises:
        OSError: a process died.
    """
    with _bar(total, total - len(jobs), bar) as advance:
        for _ in _each_done(write, jobs, processes):
            advance()


def _replace(path: Path, text: str) -> None:
    """Write a file, completely or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _each_done(write: Callable[[Any], Path], jobs: Sequence[Any], processes: int | None) -> Iterator[Path]:
    processes = usable_cores() if processes is None else max(1, processes)
    # 20 jobs with 16 for each process: 2 processes at most.
    processes = min(processes, -(-len(jobs) // (2 * TOGETHER)))
    if processes <= 1:
        yield from map(write, jobs)
        return
    # Spawned, not forked: the caller may run JAX's threads, which do not survive a fork.
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
    """Yield a function that advances a progress bar, or does nothing."""
    if not shown:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("sounding shapes", total=total, completed=done)
        yield lambda: bar.advance(task)
