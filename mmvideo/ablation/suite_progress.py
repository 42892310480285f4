"""The progress of a suite: a bar over all runs on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from mmvideo.ablation.cost import Cost
from mmvideo.ablation.worker import told
from mmvideo.training.logging.progress import clock

PAUSE = 2.0
"""Seconds between two reads of the runs' metric files."""


class SuiteProgress:
    """A reporter of starts and ends of runs, and of the time left.

    The time left assumes that the remaining FLOPs take as long each as those done since this call started.

    Args:
      folder: folder of the tier.
      costs: cost of every run by folder name.
      done: folder names of runs that were finished before.
      out: output stream; None is stdout.

    Attributes:
      begun: folder names of the running runs.
    """

    def __init__(self, folder: Path, costs: Mapping[str, Cost], done: set[str], out: TextIO | None = None):
        self._folder, self._costs, self._out = folder, costs, out or sys.stdout
        self._all = sum(cost.flops for cost in costs.values())
        # Runs that earlier calls finished count for the bar, but not for the pace: `_first` is subtracted there.
        self._spent = self._first = sum(costs[place].flops for place in done)
        self._count, self._ended = len(costs), len(done)
        self.begun: set[str] = set()
        self._began = self._next = time.monotonic()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        if self._out.isatty():
            self._open()

    def begin(self, place: str) -> None:
        """Record the start of a run."""
        self.begun.add(place)
        if self._bar is not None:
            self._tasks[place] = self._bar.add_task(place, total=self._costs[place].steps, text="starting")

    def look(self, running: list[str]) -> None:
        """Read the progress of the runs, at most every `PAUSE` seconds and only where a bar shows it."""
        if self._bar is None or time.monotonic() < self._next:
            return
        self._next, shares = time.monotonic() + PAUSE, 0.0
        for place in running:
            line = told(self._folder, place) or {}
            step = line.get("step", 0)
            # A run at step 40 of 160 has done a quarter of its FLOPs.
            shares += self._costs[place].flops * step / max(self._costs[place].steps, 1)
            loss = line.get("train/loss")
            self._bar.update(self._tasks[place], completed=step, text="" if loss is None else f"loss {loss:.3g}")
        self._bar.update(self._whole, completed=self._spent + shares, text=self._left(shares))

    def end(self, place: str, words: str, whole: bool) -> None:
        """Report the end of a run in these words; `whole` if it need not be run again."""
        if whole:
            self._spent += self._costs[place].flops
            self._ended += 1
        self.begun.discard(place)
        if self._bar is not None:
            self._bar.remove_task(self._tasks.pop(place))
        self.say(f"[{self._ended}/{self._count}] {place}: {words}{self._left(0.0, '; ')}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Stop the bar, and leave it on the screen."""
        if self._bar is not None:
            self._bar.stop()

    def _left(self, running: float, before: str = "") -> str:
        """Return the time left in words; empty where nothing was measured yet, or nothing is left."""
        spent = self._spent + running - self._first
        if spent <= 0 or self._ended >= self._count:
            return ""
        # Runs finished by an earlier call are not in `spent`: 10 PFLOPs in all, 4 before, 2 in the last 60 s. The
        # remaining 4 PFLOPs take 60 * 4 / 2 = 120 s.
        seconds = (time.monotonic() - self._began) * (self._all - self._spent - running) / spent
        return f"{before}about {clock(seconds)} left"

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bar = Progress(*columns, console=Console(file=self._out))
        self._bar.start()
        self._whole = self._bar.add_task("all runs", total=self._all, completed=self._spent, text="")
