"""Logger of the loop: lines in metrics.jsonl and ledger.jsonl, and the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from mmvideo.parallel.cores import usable_cores
from mmvideo.records.lines import write_lines
from mmvideo.training.config import Training
from mmvideo.training.logging.data_wait import DataWait, waiting_share
from mmvideo.training.logging.metric_writers import MetricsWriter, summarise, was_skipped
from mmvideo.training.logging.progress import Progress
from mmvideo.training.logging.time_ledger import TimeLedger
from mmvideo.training.nan_guard import check
from mmvideo.training.unreadable_clips import UnreadableClips

Show = Callable[[Mapping[str, Any]], None]


class MetricLogger:
    """Logger of the metrics of the steps since the last line.

    Args:
      workdir: folder of the files; None in every process but the first, which then only checks.
      start: step at which the run starts.
      config: interval of lines, and patience with skipped steps.
      ledger: time ledger, written with the metrics.
      batches: source of `skipped`, which is counted and written to `skipped.jsonl`, and of `planned` (for
        `UnreadableClips`) and `threads` (for advice on waiting), if it has them.
      show: receives each line instead of the screen.
      utilisation: see `metric_writers.summarise`.
    """

    def __init__(
        self,
        workdir: Path | None,
        start: int,
        config: Training,
        ledger: TimeLedger,
        batches: Any,
        show: Show | None,
        utilisation: float | None = None,
    ):
        self._workdir, self._config, self._ledger, self._batches = workdir, config, ledger, batches
        self._writer = MetricsWriter(workdir, start, config.tensorboard) if workdir else None
        self._progress = Progress(start, config.steps) if workdir and show is None else None
        self._show = show or (self._progress.update if self._progress else None)
        self._utilisation = utilisation
        self._step = start
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._window: list[dict[str, float]] = []
        self._last: dict[str, float] | None = None
        self._compiling = time.perf_counter()
        self._unreadable, self._unread = 0, UnreadableClips(batches)
        self._wait = DataWait(getattr(batches, "threads", None), usable_cores())

    def __enter__(self) -> MetricLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self.close()
        except OSError:
            if kind is None:  # Otherwise the first error is the one to report: often the same full disk.
                raise

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Store a step's metrics unread, and read those of the step before, so that the device stays busy."""
        self.flush()
        self._pending = (step, metrics)

    def flush(self, line: bool = False) -> None:
        """Wait for the last step's metrics, check them, and write a line if one is due or requested.

        Raises:
          NonFiniteError, SpikeError: too many steps in a row were skipped.
          UnreadableError: a step or most of an epoch could not be read.
        """
        if self._pending is not None:
            step, metrics = self._pending
            self._pending = None
            # Reading the metrics waits for the device, so this time belongs to the step.
            with self._ledger.phase("step"):
                host = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
            self._step = step
            self._window.append(host)
            self._last = host
            check(step, host, self._config.patience)
            self._unread.check(step, round(host["clips"]))
        if line or self._step % self._config.log_every == 0:
            self._flush()

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line with the metrics of an evaluation that have none yet."""
        untold = self._writer.new_metrics(step, metrics) if self._writer is not None else {}
        if untold:
            self._put({"step": step, **untold})

    def compiling(self, words: str) -> None:
        """Announce the compilation of the step, with an estimate of its time; `first` reports the actual time."""
        self._compiling = time.perf_counter()
        self.doing(f"compiling the step ({words})" if words else "compiling the step")

    def first(self) -> None:
        """Wait for the first step of a start and report its loss, as an early sign that the run works."""
        self.flush()
        if self._last is not None:
            took = time.perf_counter() - self._compiling
            self.log_text(f"first step: loss {self._last['train/loss']:.4g}, {took:.1f} s from compiling to its end")

    def doing(self, text: str) -> None:
        """Show the current activity; on a bar, the next line of metrics replaces it."""
        if self._progress is not None:
            self._progress.doing(text)

    def log_text(self, text: str) -> None:
        """Show a message on the screen."""
        if self._progress is not None:
            self._progress.say(text)

    def close(self) -> None:
        """Write the remaining metrics, also when an error ends the run."""
        self._flush()
        self._ledger.write(self._step)
        if self._writer is not None:
            self._writer.close()
        if self._progress is not None:
            self._progress.close()

    def _flush(self) -> None:
        """Write the line of the steps since the last one, if there are any."""
        if not self._window:
            return
        # `was_skipped` includes spikes: subtracting them leaves the non-finite steps.
        spikes = sum(bool(metrics.get("spike")) for metrics in self._window)
        skipped = sum(was_skipped(metrics) for metrics in self._window) - spikes
        spent = self._ledger.write(self._step, skipped, spikes)
        busy = sum(spent[name] for name in ("wait", "step", "checkpoint", "other"))
        row = {"step": self._step, **summarise(self._window, busy, self._utilisation), **_device_memory()}
        row |= {"waiting": waiting_share(spent), "unreadable_clips": self._list_unreadable()}
        self._window = []
        self._put(row)
        if self._show is not None:
            self._show(row)
        advice = self._wait.advise(spent)
        if advice:
            self.log_text(advice)

    def _put(self, row: dict[str, Any]) -> None:
        if self._writer is not None:
            seconds = self._writer.seconds_before + self._ledger.elapsed
            self._writer.write({"step": row["step"], "seconds": seconds} | row)

    def _list_unreadable(self) -> int:
        """Return the number of unreadable clips so far; write new ones to skipped.jsonl."""
        # Other threads append while this runs, hence the copy by `list`.
        reasons = {str(clip): str(reason) for clip, reason in list(self._batches.skipped)}
        if len(reasons) > self._unreadable and self._workdir is not None:
            write_lines(self._workdir / "skipped.jsonl", [{"id": i, "reason": r} for i, r in sorted(reasons.items())])
            self._unreadable = len(reasons)
        return len(reasons)


def _device_memory() -> dict[str, int]:
    """Return the peak bytes in use on any of this process's devices; nothing where devices do not report them."""
    told = [device.memory_stats() or {} for device in jax.local_devices()]
    most = max((stats.get("peak_bytes_in_use", 0) for stats in told), default=0)
    return {"peak_device_bytes": most} if most else {}
