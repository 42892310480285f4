"""Time that a run waits for its data: its share, and advice to reduce it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping

SHARE = 0.15
"""Smallest share of the step time spent waiting that deserves advice."""

SECONDS = 5.0
"""Seconds of steps to measure before any advice, so that it does not rest on chance."""

IDLE, MOST = 0.6, 64
"""Share of the cores below which they count as idle, and largest number of threads that is advised."""

LOCKED = (0.7, 1.3)
"""Range of cores in use by a process whose threads wait for Python's lock, which one thread holds at a time."""


class DataWait:
    """Sum of the time of steps, with a single piece of advice to reduce the waiting.

    Args:
      threads: number of threads that prepare rows; None if the batches do not report it, which gives no advice.
      cores: number of cores that this process may use.
      clock, processor: wall clock and processor time of this process, in seconds.
      load: number of processes of the machine that want a core, or a larger number where that is unknown.
    """

    def __init__(
        self,
        threads: int | None,
        cores: int,
        *,
        clock: Callable[[], float] = time.perf_counter,
        processor: Callable[[], float] = time.process_time,
        load: Callable[[], float] = lambda: os.getloadavg()[0],
    ):
        self._threads, self._cores = threads, cores
        self._clock, self._processor, self._load = clock, processor, load
        self._began: tuple[float, float] | None = None
        self._waited = self._stepped = 0.0
        self._told = False

    def advise(self, seconds: Mapping[str, float]) -> str | None:
        """Return advice if it is due.

        The first stretch of a start is left out: it includes the wait for the first batch, and the compilation.

        Args:
          seconds: time of a stretch of steps, by the names of the ledger.
        """
        if self._began is None:
            self._began = self._clock(), self._processor()
            return None
        self._waited += seconds["wait"]
        self._stepped += seconds["step"]
        total = self._waited + self._stepped
        if self._told or self._threads is None or total < SECONDS or self._waited < SHARE * total:
            return None
        self._told = True
        return f"{self._waited / total:.0%} of the time goes into waiting for data: {self._remedy(total)}"

    def _remedy(self, total: float) -> str:
        """Return the change to make: more threads while cores are free or idle, else less work for each clip.

        With one thread and 50 of 60 seconds waiting, the steps alone take 10 seconds, so 6 threads would keep up with
        them.
        """
        # Rows take `total` seconds with the present threads, steps alone take `_stepped`: scale the threads by the
        # ratio.
        wanted = math.ceil(self._threads * total / max(self._stepped, 1e-9))
        if self._threads < self._cores:
            return _turn_up(self._threads, min(wanted, self._cores), f"{self._cores} cores")
        if self._threads < MOST and self._idle():
            most = min(wanted, 2 * self._threads, MOST)
            return _turn_up(self._threads, most, f"{self._cores} cores, which are mostly idle: storage may be slow")
        return (
            f"more than {self._threads} threads on {self._cores} cores would not help; smaller files would (mmvideo "
            "data build --short-side, --gop), and --input.keep FOLDER spares the next run the work"
        )

    def _idle(self) -> bool:
        """Return whether threads wait for storage: most cores are idle, and the threads do not wait for Python's
        lock."""
        clock, processor = self._began
        used = (self._processor() - processor) / max(self._clock() - clock, 1e-9)
        return max(used, self._load()) < IDLE * self._cores and not LOCKED[0] < used < LOCKED[1]


def _turn_up(threads: int, better: int, where: str) -> str:
    return (
        f"more threads may prepare it sooner; stop, and go on with --input.threads {better} (it has {threads}, on "
        f"{where})"
    )


def waiting_share(seconds: Mapping[str, float]) -> float:
    """Return the share of the step time spent waiting for data."""
    busy = sum(seconds[name] for name in ("wait", "step", "checkpoint", "other"))
    return seconds["wait"] / busy if busy > 0 else 0.0
