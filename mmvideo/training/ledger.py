"""Where the time went: every second of a run is booked once, under one name.

`ledger.jsonl` has a line for each stretch of steps,
`{"run", "from_step", "to_step", "at", "wall", "init", "compile", "wait", "step", "checkpoint",
"evaluation", "other"}` in seconds (`at`: seconds since 1970). The names add up to `wall`, and the
lines of a run to the time it took. `wait` is waiting for data; `checkpoint` is only what saving
held the run up. A resume adds `{"run", "from_step", "to_step", "at", "lost"}`: the
time spent on steps that were never saved and are done again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mmvideo.training.files import read_lines

NAMES = ("init", "compile", "wait", "step", "checkpoint", "evaluation", "other")

T = TypeVar("T")


class Ledger:
    """The running account of one process; only one with a path writes it down.

    Args:
      path: `WORKDIR/ledger.jsonl`, or None.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._lines = read_lines(path) if path is not None else []
        self._run = 1 + max((line.get("run", 0) for line in self._lines), default=0)
        self._seconds = dict.fromkeys(NAMES, 0.0)
        self._open = ["other"]
        self._mark = self._start = time.perf_counter()
        self._step = 0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Books the time inside under `name`; a phase within a phase is taken out of the outer one."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time until each one comes booked under `wait`."""
        source = iter(items)
        while True:
            with self.phase("wait"):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def resume(self, step: int) -> float:
        """Starts at `step`, and books as lost what earlier runs spent past it. Returns those seconds."""
        self._step = step
        spent, last = lost_work(self._lines, step)
        if spent > 0:
            self._append({"run": self._run, "from_step": step, "to_step": last, "at": time.time(), "lost": spent})
        return spent

    def write(self, step: int) -> dict[str, float]:
        """Writes the line of the steps since the last one, and returns its seconds by name."""
        self._book()
        seconds = dict(self._seconds)
        self._seconds = dict.fromkeys(NAMES, 0.0)
        head = {"run": self._run, "from_step": self._step, "to_step": step, "at": time.time()}
        self._append({**head, "wall": sum(seconds.values()), **seconds})
        self._step = step
        return seconds

    @property
    def elapsed(self) -> float:
        """Seconds since this process began its account."""
        return time.perf_counter() - self._start

    def _book(self) -> None:
        now = time.perf_counter()
        self._seconds[self._open[-1]] += now - self._mark
        self._mark = now

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def lost_work(lines: Iterable[dict[str, Any]], step: int) -> tuple[float, int]:
    """Seconds that earlier runs spent past `step` and that no earlier resume has called lost, and their last step.

    A stretch that straddles the step counts in proportion.
    """
    stretches: list[tuple[int, int, float]] = []
    for line in lines:
        if "lost" in line:
            stretches = [kept for stretch in stretches if (kept := _until(stretch, line["from_step"]))]
        elif "wall" in line and line["to_step"] > line["from_step"]:
            stretches.append((line["from_step"], line["to_step"], line["wall"]))
    late = [stretch for stretch in stretches if stretch[1] > step]
    spent = sum(wall * _share(first, last, step) for first, last, wall in late)
    return spent, max((last for _, last, _ in late), default=step)


def _share(first: int, last: int, step: int) -> float:
    """Share of the steps `first` to `last` that lie past `step`."""
    return (last - max(first, step)) / (last - first)


def _until(stretch: tuple[int, int, float], step: int) -> tuple[int, int, float] | None:
    """The part of a stretch up to `step`."""
    first, last, wall = stretch
    if first >= step:
        return None
    return stretch if last <= step else (first, step, wall * (1.0 - _share(first, last, step)))
