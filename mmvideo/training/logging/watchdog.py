"""Watchdog: reports a hanging run and ends it, so that a scheduler can restart it.

Every process watches itself from a thread that needs only a moment of Python, so it works while the main thread waits
in XLA, a decoder or a file system. If one of several processes hangs, the others wait for it in the same collective
operation. Each process writes a report, then reads the others' reports and names the process they wait for. A process
that is stopped, dead or blocks Python writes no report, which identifies it.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

HANG = os.EX_TEMPFAIL
"""Exit code (75, "try again later" in sysexits.h) of a process ended by its watchdog."""

PATIENCE = 5.0
"""Seconds for a process's own report, and then for those of the others, before it exits."""

DOING = {
    "init": "setting up",
    "compile": "compiling the step and running it once",
    "wait": "waiting for data",
    "step": "running a step",
    "checkpoint": "saving a checkpoint",
    "evaluation": "evaluating",
    "other": "between two phases",
}
"""Activity of a process in each phase of the ledger."""


class Watchdog:
    """Watchdog that ends the process if nothing finishes within a set time.

    Time in which the whole process was stopped (Ctrl-Z, a debugger's break, a sleeping machine) does not count.

    Args:
      seconds: longest time of one phase, batch or step; None or 0 watches nothing.
      workdir: folder for the stacks, in `hangs/process-N.txt`; None writes them only to stderr.

    Attributes:
      step: number of steps sent to the devices; the loop keeps it up to date.
    """

    def __init__(self, seconds: float | None, workdir: str | Path | None = None):
        self._seconds = seconds or None
        self._folder = None if workdir is None else Path(workdir) / "hangs"
        self._process, self._processes = jax.process_index(), jax.process_count()
        self._phase, self._beats, self.step = "init", 0, 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        if self._seconds is not None:
            self._over.clear()
            self._thread = threading.Thread(target=self._watch, args=(self._seconds,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def beat(self, phase: str | None = None) -> None:
        """Record that something has finished; `phase` names the new phase, if it changes."""
        self._phase = phase or self._phase
        self._beats += 1

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function with a beat at each call, such as the transfer of a batch to the devices."""

        def beating(*arguments: Any, **named: Any) -> Any:
            self.beat()
            return function(*arguments, **named)

        return beating

    def _watch(self, seconds: float) -> None:
        """Poll for beats. A late poll was delayed together with the whole process, and counts at most two intervals."""
        pause = min(seconds / 10, 5.0)
        seen, silent, last = self._beats, 0.0, time.monotonic()
        while not self._over.wait(pause):
            now = time.monotonic()
            # A limit of 60 s polls every 5 s. A poll after 300 s of suspension adds 10 s, not 300.
            silent = 0.0 if self._beats != seen else silent + min(now - last, 2 * pause)
            seen, last = self._beats, now
            if silent >= seconds:
                self._end(silent)

    def _end(self, silent: float) -> None:
        """Report and exit. The report may hang too, if the workdir's storage is the cause."""
        told = threading.Thread(target=self._report, args=(silent,), name="hang report", daemon=True)
        told.start()
        told.join(PATIENCE)
        if self._processes > 1:
            # The first process runs the coordinator: if it exits first, the others are aborted before they report.
            time.sleep(PATIENCE if self._process else 2 * PATIENCE)
            verdict = threading.Thread(target=self._name_the_first, name="hang verdict", daemon=True)
            verdict.start()
            verdict.join(PATIENCE)
        os._exit(HANG)

    def _report(self, silent: float) -> None:
        """Write the hanging phase and the stacks, first to stderr, which needs no storage."""
        line = (
            f"process {self._process} of {self._processes} on {socket.gethostname()} (pid {os.getpid()}) hangs "
            f"{DOING.get(self._phase, self._phase)}, at step {self.step}: nothing has come to an end for "
            f"{silent:.0f} s"
        )
        # stderr first: the report's file may be on the storage that hangs.
        _say(f"\nmmvideo: {line}; the stacks of its threads, the innermost call first:\n")
        faulthandler.dump_traceback(2, all_threads=True)
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._path(self._process).open("w", encoding="utf-8") as file:
            file.write(f"{self.step} {self._phase}\n{line}\n{time.strftime('%Y-%m-%d %H:%M:%S %z')}\n\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
            os.fsync(file.fileno())
        _say(
            f"mmvideo: the same is in {self._path(self._process)}; this process ends with exit code {HANG}, as "
            f"training.hang_seconds {self._seconds:g} says\n"
        )

    def _name_the_first(self) -> None:
        """Report the process that the others wait for: one without a report, or the one with the least progress."""
        if self._folder is None:
            return
        places = {number: self._place(number) for number in range(self._processes)}
        silent = [number for number, place in places.items() if place is None]
        heard = {number: place for number, place in places.items() if place is not None}
        if silent:
            names = ", ".join(map(str, silent))
            _say(f"mmvideo: no report of process {names} yet: stopped, dead, or cut off; the others wait for it\n")
        elif heard:
            # Progress (step, runs it): (7, False) is before (7, True), so a process stuck before step 7 is named.
            first = min(heard, key=lambda number: heard[number])
            _say(f"mmvideo: the others wait for process {first}; see {self._path(first)}\n")

    def _place(self, number: int) -> tuple[int, bool] | None:
        """Return the progress of a process and whether it ran a step; None if it has no report of this hang.

        Of processes at the same step, those that run the step wait for the one that does not.
        """
        try:
            path = self._path(number)
            # Both times come from the file system's clock. A report of an earlier hang is older than the hang limit.
            if path.stat().st_mtime <= self._path(self._process).stat().st_mtime - self._seconds:
                return None
            step, phase = path.read_text(encoding="utf-8").split("\n", 1)[0].split()
            return int(step), phase in ("step", "compile")
        except (OSError, ValueError):
            return None

    def _path(self, number: int) -> Path:
        return self._folder / f"process-{number}.txt"


def _say(text: str) -> None:
    """Write to stderr, bypassing the locks of Python's own streams, which a hanging thread may hold."""
    os.write(2, text.encode())
