"""Time ledger: every second of a run is booked once, under one name.

`ledger.jsonl` has a line for each stretch of steps,
`{"run", "from_step", "to_step", "at", "wall", "init", "compile", "wait", "step", "checkpoint",
"evaluation", "other", "goodput"}` in seconds (`at`: seconds since 1970), and `skipped` and `spikes` if steps of it were
skipped. The names add up to `wall`, and the lines of a run to its duration. `wait` is waiting for data; `checkpoint` is
only the time that saving delays the run. Each start first has a line
`{"run", "from_step", "to_step", "at", "devices", "kind", "processes"}` with number and type of its devices. The line of
a resume also has `lost` and `down`: the time spent on steps that were never saved and are repeated, and the time from
the last line of the run before until this one began.

Goodput so far is the time in productive steps over all the time since the run first began, down times and restarts
included. A step is productive if it was not skipped, not lost, and not the first of a start, which includes
compilation. Work that overlaps with a step on the devices is no loss; only waiting of the host counts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax

from mmvideo.records.lines import append_line, read_lines

PHASES = ("init", "compile", "wait", "step", "checkpoint", "evaluation", "other")

NEEDS = {"run": int, "from_step": int, "to_step": int, "at": (int, float)}
"""Fields that every line needs to be counted, with their types."""

T = TypeVar("T")


class TimeLedger:
    """Time ledger of one process; only one with a path writes a file.

    Args:
      path: `WORKDIR/ledger.jsonl`, or None.
      beat: called with the name of each phase at its start, and of the outer phase at its end.
    """

    def __init__(self, path: Path | None, beat: Callable[[str], None] = lambda name: None):
        self._path, self._beat = path, beat
        self._lines = read_lines(path, NEEDS) if path is not None else []
        self._run = 1 + max((line.get("run", 0) for line in self._lines), default=0)
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._open = ["other"]
        self._mark = self._start = time.perf_counter()
        self._step, self._productive = 0, 0.0
        # The first line was written at its end: it began `wall` seconds before.
        self._began = min((line["at"] - line.get("wall", 0.0) for line in self._lines), default=time.time())

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book the time in the block under `name`; the time of a nested phase is not part of the outer one."""
        # Book the time so far under the outer phase first: a step from 0 to 3 s with a checkpoint from 1 to 2 s books 2
        # s of step and 1 s of checkpoint.
        self._book()
        self._open.append(name)
        self._beat(name)
        try:
            with jax.profiler.TraceAnnotation(name):
                yield
        finally:
            self._book()
            self._open.pop()
            self._beat(self._open[-1])

    def timed_iter(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, and book the time until each one comes under `wait`."""
        source = iter(items)
        while True:
            with self.phase("wait"):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def begin(self, step: int, machine: Mapping[str, Any] | None = None) -> float:
        """Start at `step`, and book the time of earlier runs after it as lost.

        Args:
          step: steps done.
          machine: facts about the devices for the line of the start.

        Returns:
          The lost seconds.
        """
        self._step, self._productive = step, productive_seconds(self._lines, step)
        spent, last = lost_work(self._lines, step)
        now = time.time()
        head = {"run": self._run, "from_step": step, "to_step": last, "at": now, **(machine or {})}
        if self._lines:
            # Down time ends when this process started, not now: its own start is booked as `init`.
            head |= {"lost": spent, "down": max(now - self.elapsed - max(line["at"] for line in self._lines), 0.0)}
        self._append(head)
        return spent

    def write(self, step: int, skipped: int = 0, spikes: int = 0) -> dict[str, float]:
        """Write the line of the steps since the last one, and return its seconds by name.

        Args:
          step: last of these steps.
          skipped: number of steps skipped as non-finite.
          spikes: number of steps skipped as spikes.
        """
        self._book()
        seconds = dict(self._seconds)
        self._seconds = dict.fromkeys(PHASES, 0.0)
        counts = {name: count for name, count in (("skipped", skipped), ("spikes", spikes)) if count}
        line = {"run": self._run, "from_step": self._step, "to_step": step, "at": time.time()}
        line |= {"wall": sum(seconds.values()), **seconds, **counts}
        self._productive += _productive(line)
        self._append(line | {"goodput": self.goodput})
        self._step = step
        return seconds

    @property
    def goodput(self) -> float:
        """Share of `since_first` that was spent in productive steps, up to the last line."""
        return self._productive / max(self.since_first, self._productive, 1e-9)

    @property
    def since_first(self) -> float:
        """Seconds since the run first began, by the clocks of its machines."""
        return time.time() - self._began

    @property
    def elapsed(self) -> float:
        """Seconds since this process began its ledger."""
        return time.perf_counter() - self._start

    def _book(self) -> None:
        now = time.perf_counter()
        # Only the innermost open phase gets the time.
        self._seconds[self._open[-1]] += now - self._mark
        self._mark = now

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            append_line(self._path, line)


def lost_work(lines: Iterable[dict[str, Any]], step: int) -> tuple[float, int]:
    """Return the seconds that earlier runs spent after `step` and that no earlier resume has booked as lost, and their
    last step.

    A stretch with steps before and after it counts in proportion.
    """
    late = [stretch for stretch in _stretches(lines, lambda line: line["wall"]) if stretch[1] > step]
    # Steps 0 to 10 took 20 s and the checkpoint is of step 6: 4 of 10 steps are lost, 8 s.
    spent = sum(wall * _share(first, last, step) for first, last, wall in late)
    return spent, max((last for _, last, _ in late), default=step)


def productive_seconds(lines: Iterable[dict[str, Any]], step: int) -> float:
    """Return the seconds in productive steps up to `step`: not lost, not skipped, not the first of a start."""
    kept = [_until(stretch, step) for stretch in _stretches(lines, _productive)]
    return sum(stretch[2] for stretch in kept if stretch is not None)


def _productive(line: dict[str, Any]) -> float:
    """Return the seconds of a line's steps, without the share of skipped ones."""
    steps = line["to_step"] - line["from_step"]
    # 10 steps in 20 s with 1 skipped and 1 spike: 8 of 10 count, 16 s.
    skipped = line.get("skipped", 0) + line.get("spikes", 0)
    return line.get("step", 0.0) * (1.0 - skipped / steps) if steps > 0 else 0.0


def _stretches(
    lines: Iterable[dict[str, Any]], seconds: Callable[[dict[str, Any]], float]
) -> list[tuple[int, int, float]]:
    """Return first step, last step and seconds of each line of steps, without the steps that a later line calls
    lost."""
    stretches: list[tuple[int, int, float]] = []
    for line in lines:
        # A resume at step 6 cuts the stretch (0, 10) to (0, 6); its repeated steps follow in later lines.
        if "lost" in line:
            stretches = [kept for stretch in stretches if (kept := _until(stretch, line["from_step"]))]
        elif "wall" in line and line["to_step"] > line["from_step"]:
            stretches.append((line["from_step"], line["to_step"], seconds(line)))
    return stretches


def _share(first: int, last: int, step: int) -> float:
    """Return the share of the steps `first` to `last` after `step`."""
    # Steps 0 to 10 and step 6: (10 - 6) / 10 = 0.4.
    return (last - max(first, step)) / (last - first)


def _until(stretch: tuple[int, int, float], step: int) -> tuple[int, int, float] | None:
    """Return the part of a stretch up to `step`, or None."""
    first, last, wall = stretch
    if first >= step:
        return None
    return stretch if last <= step else (first, step, wall * (1.0 - _share(first, last, step)))
