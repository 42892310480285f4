"""Parallel writing of shards in several processes, with a progress bar and an orderly stop."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from mmvideo.datasets.write_shard import ShardTask, write_shard
from mmvideo.parallel.cores import usable_cores

POLL = 0.1
"""Seconds between two progress polls."""


class WorkerDied(ValueError):
    """A process that wrote a shard was killed, or crashed in a decoder."""


class _Stopped(Exception):
    """The build was stopped."""


def run_tasks(todo: Sequence[ShardTask], tasks: Sequence[ShardTask], processes: int | None, progress: bool) -> None:
    """Write the shards `todo`, out of all `tasks`; on an interrupt, print how to continue.

    Args:
      todo: the missing shards.
      tasks: all shards, of which the others are finished.
      processes: number of parallel processes; None is one for each processor core. One runs in this process.
      progress: whether to show a bar on a terminal.

    Raises:
      WorkerDied: a process was killed from outside or crashed.
    """
    total = sum(len(task.rows) for task in tasks)
    done = total - sum(len(task.rows) for task in todo)
    # More processes than shards would be idle.
    count = min(processes or usable_cores(), len(todo))
    with _bar(total, done, progress) as advance:
        try:
            if count > 1:
                _run_pool(todo, count, advance)
            else:
                for task in todo:
                    write_shard(task, lambda: advance(1))
        except KeyboardInterrupt:
            finished = sum(task.receipt.exists() for task in tasks)
            print(
                f"stopped with {finished} of {len(tasks)} shards written; run the same command again to go on",
                file=sys.stderr,
            )
            raise


def _run_pool(todo: Sequence[ShardTask], count: int, advance: Callable[[int], None]) -> None:
    # Spawned, not forked: JAX and FFmpeg have threads, which a fork would lose while they hold locks.
    context = multiprocessing.get_context("spawn")
    ticks, stop = context.Value("q", 0), context.Value("b", 0)
    shown = 0
    with concurrent.futures.ProcessPoolExecutor(count, context, _begin_worker, (ticks, stop)) as pool:
        waiting = {pool.submit(_work, task) for task in todo}
        try:
            while waiting:
                ended, waiting = concurrent.futures.wait(waiting, POLL, concurrent.futures.FIRST_COMPLETED)
                # The counter is the sum over all processes; the bar needs the difference since the last poll.
                advance(ticks.value - shown)
                shown = ticks.value
                for future in ended:
                    future.result()
        except BrokenProcessPool:
            raise WorkerDied(
                "a process that was reading clips was killed (out of memory?) or crashed; the finished shards are "
                "kept: run the same command again, with fewer processes if memory is short"
            ) from None
        finally:
            stop.value = 1
            pool.shutdown(cancel_futures=True)


_signals: dict[str, Any] = {}


def _begin_worker(ticks: Any, stop: Any) -> None:
    """Leave Ctrl-C to the parent, and exit when the parent exits for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _signals.update(ticks=ticks, stop=stop)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        # Exit without cleanup: the main thread may be inside a decoder.
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(task: ShardTask) -> None:
    def tick() -> None:
        with _signals["ticks"].get_lock():
            _signals["ticks"].value += 1
        if _signals["stop"].value:
            raise _Stopped

    write_shard(task, tick)


class _bar:
    """Progress bar on a terminal's error output; entering it returns a function that advances it."""

    def __init__(self, total: int, done: int, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._total, self._done = total, done
        self._progress = Progress(
            TextColumn("building"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("clips"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        task = self._progress.add_task("building", total=self._total, completed=self._done)
        return lambda count: self._progress.advance(task, count)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
