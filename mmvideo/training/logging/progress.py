"""Progress display: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO


class Progress:
    """Display of loss, clips and tokens a second, padding and remaining time, as a line of text or a bar.

    Args:
      start: step at which the run starts.
      steps: total number of steps.
      out: output stream; a terminal gets the bar.
    """

    def __init__(self, start: int, steps: int, out: TextIO | None = None):
        self._out = out or sys.stdout
        self._start, self._steps = start, steps
        self._began: float | None = None
        self._bar: Any = None
        if self._out.isatty() and start < steps:
            self._bar, self._task = _bar(self._out, start, steps)

    def update(self, row: Mapping[str, Any]) -> None:
        """Show a line of metrics.jsonl."""
        text = describe(row)
        if self._bar is not None:
            self._bar.update(self._task, completed=row["step"], text=text)
        else:
            print(f"step {row['step']}/{self._steps}  {text}{self._left(row)}", file=self._out, flush=True)

    def doing(self, text: str) -> None:
        """Show the current activity until the next line of metrics: as a line, or as the text of the bar."""
        if self._bar is not None:
            self._bar.update(self._task, text=text)
        else:
            print(text, file=self._out, flush=True)

    def say(self, text: str) -> None:
        """Show a message, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Stop the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self, row: Mapping[str, Any]) -> str:
        """Return the remaining time at the pace since the first line, which excludes compilation."""
        now = time.perf_counter()
        # The first line ends the compilation: pace and remaining time count from here.
        if self._began is None:
            self._began, self._start = now, row["step"]
            return ""
        pace = (now - self._began) / max(row["step"] - self._start, 1)
        return f"  {clock(pace * (self._steps - row['step']))} left"


def describe(row: Mapping[str, Any]) -> str:
    """Return `loss 3.21  41.2 clips/s  9.8k tokens/s  padding 4%  waiting 12%`, with the problems so far.

    `waiting` is the share of the time spent waiting for the next batch.
    """
    text = (
        f"loss {row['train/loss']:.4g}  {short(row['examples_per_second'])} clips/s  "
        f"{short(row['tokens_per_second'])} tokens/s  padding {row['padding']:.0%}"
    )
    if "waiting" in row:
        text += f"  waiting {row['waiting']:.0%}"
    if row.get("skipped_steps"):
        text += f"  {row['skipped_steps']} steps skipped"
    if row.get("skipped_spikes"):
        text += f"  {row['skipped_spikes']} spikes skipped"
    if row.get("unreadable_clips"):
        text += f"  {row['unreadable_clips']} clips unreadable"
    return text


def short(number: float) -> str:
    """Return a short form of a number: `9.8k` for 9800."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def clock(seconds: float) -> str:
    """Return seconds as a clock time: `1:02:03` for 3723 seconds."""
    # 3723 s are 62 min 3 s: 1:02:03.
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _bar(out: TextIO, start: int, steps: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (MofNCompleteColumn(), BarColumn(bar_width=20), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    bar = RichProgress(*columns, console=Console(file=out))
    bar.start()
    return bar, bar.add_task("train", total=steps, completed=start, text="starting")
