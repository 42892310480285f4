"""Runs cells side by side until all have ended: what is finished is not run again, what fails stops nothing else."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmvideo.ablation.cells import SHARED, Cell
from mmvideo.ablation.fields import differences, override
from mmvideo.ablation.launchers.local import Launcher
from mmvideo.ablation.suite_progress import SuiteProgress
from mmvideo.ablation.worker import CELLS, SETTINGS, STATE, state_of, told
from mmvideo.experiment.config import ConfigError, Experiment, load_experiment, to_json
from mmvideo.records.whole import write_whole
from mmvideo.training.logging.progress import clock

PAUSE = 0.2
"""Seconds between two looks at what is running."""

IDLE = ("input.keep", "input.memory", "input.threads", "input.prefetch", "training.init_from")
"""Fields that change nothing of a cell; where a shared run lies, which a moved folder changes."""

RESTARTS = 20
"""Starts of a run that was stopped from outside and had come further than before."""


@dataclasses.dataclass(frozen=True)
class RunsOutcome:
    """How it ended.

    Attributes:
      done: places of the runs that are finished.
      failed: why, by place.
      left: places of those that were not run, or not to their end.
    """

    done: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run at a place.

    Attributes:
      experiment: the settings.
      need: place of the run that it starts from, or None.
    """

    experiment: Experiment
    need: str | None = None


def runs_of(folder: Path, cells: Iterable[Cell], before: Mapping[str, Experiment]) -> dict[str, Run]:
    """The runs that cells need by place, shared ones first; of equal runs one.

    Args:
      folder: of the tier.
      cells: of its tables.
      before: runs that cells share, by name.

    Raises:
      ConfigError: a cell starts from a shared run that the tier doesn't have; a run that has begun had other settings.
    """
    names = _first_of_equal(before)
    own = {cell.place: _run_of(folder, cell, names) for cell in cells}
    needs = {run.need for run in own.values()}
    shared = {_shared(name): Run(before[name]) for name in dict.fromkeys(names.values()) if _shared(name) in needs}
    runs = shared | own
    for place, run in runs.items():
        _check_unchanged(folder, place, run.experiment)
    return runs


def write_down(folder: Path, runs: Mapping[str, Run]) -> None:
    """Writes the settings of every run where its process reads them."""
    for place, run in runs.items():
        write_whole(folder / SETTINGS / f"{place}.json", to_json(run.experiment))


def _first_of_equal(before: Mapping[str, Experiment]) -> dict[str, str]:
    """For each shared run the name of the first that is the same but for what it is called."""
    first: dict[str, str] = {}
    settings = {name: to_json(dataclasses.replace(experiment, name="")) for name, experiment in before.items()}
    return {name: first.setdefault(settings[name], name) for name in before}


def _run_of(folder: Path, cell: Cell, names: Mapping[str, str]) -> Run:
    start = cell.experiment.training.init_from
    if start is None or not start.startswith(SHARED):
        return Run(cell.experiment)
    name = names.get(start.removeprefix(SHARED))
    if name is None:
        raise ConfigError(f"{cell.title} starts from {start}, but the tier shares {', '.join(names) or 'nothing'}")
    path = str((folder / CELLS / _shared(name)).absolute())
    return Run(override(cell.experiment, {"training.init_from": path}), _shared(name))


def _check_unchanged(folder: Path, place: str, experiment: Experiment) -> None:
    """Raises where a run of other settings has begun at a place: its numbers must not stand under these."""
    path = folder / SETTINGS / f"{place}.json"
    if not path.is_file() or not (folder / CELLS / place).is_dir():
        return
    changed = differences({"there": load_experiment(path), "here": experiment})
    for field, values in changed.items():
        if field not in IDLE:
            there, here = (json.dumps(values[side]) for side in ("there", "here"))
            raise ConfigError(
                f"{place} was begun with other settings: {field} ({there} there, {here} here); give another "
                f"--folder, or remove {folder} to begin anew"
            )


def _shared(name: str) -> str:
    return f"shared-{name}"


def run_all(folder: Path, runs: Mapping[str, Run], launcher: Launcher, follow: SuiteProgress) -> RunsOutcome:
    """Runs what is not finished.

    Ctrl-C asks the runs to save and end, and leaves the rest for the same call to go on with.

    Args:
      folder: of the tier.
      runs: by place.
      launcher: starts them.
      follow: is told.
    """
    board = _Board(folder, dict(runs), launcher, follow)
    try:
        while board.waiting or board.running:
            board.start()
            time.sleep(PAUSE)
            board.collect()
    except KeyboardInterrupt:
        follow.say(f"stopping: {len(board.running)} runs are asked to save and end; the same command goes on")
        board.stop()
    finally:
        follow.close()
    return board.outcome()


class _Board:
    """What waits, what runs, and what has ended."""

    def __init__(self, folder: Path, runs: dict[str, Run], launcher: Launcher, follow: SuiteProgress):
        self._folder, self._runs, self._launcher, self._follow = folder, runs, launcher, follow
        self._done = finished(folder, runs)
        self._failed: dict[str, str] = {}
        self._restarts: dict[str, tuple[int, int]] = {}
        self.waiting = [place for place in runs if place not in self._done]
        self.running: dict[str, Any] = {}

    def start(self) -> None:
        """Starts what may run and has room; what waits for a run that failed fails too."""
        for place in list(self.waiting):
            need = self._runs[place].need
            if need in self._failed:
                self.waiting.remove(place)
                self._fail(place, f"{need}, from which it starts, failed")
            elif len(self.running) < self._launcher.jobs and (need is None or need in self._done):
                self.waiting.remove(place)
                # Where it failed before, it is tried again.
                (self._folder / STATE / f"{place}.json").unlink(missing_ok=True)
                self._follow.begin(place)
                self.running[place] = self._launcher.start(self._folder, place)

    def collect(self) -> None:
        """Takes off those that have ended."""
        for place, job in list(self.running.items()):
            words = self._launcher.ended(job)
            if words is not None:
                del self.running[place]
                self._end(place, words)
        self._follow.look(list(self.running))

    def stop(self) -> None:
        """Asks what runs to end, and waits."""
        self._launcher.stop(list(self.running.values()))
        for place in self.running:
            self._end(place, "", again=False)
        self.running = {}

    def outcome(self) -> RunsOutcome:
        """How it has ended."""
        left = [place for place in self._runs if place not in self._done and place not in self._failed]
        return RunsOutcome(tuple(place for place in self._runs if place in self._done), self._failed, tuple(left))

    def _end(self, place: str, words: str, again: bool = True) -> None:
        state = state_of(self._folder, place)
        if state is not None and state.status == "done":
            self._done.add(place)
            self._follow.end(place, f"done in {clock(state.seconds)}", whole=True)
        elif state is not None:
            self._fail(place, state.why or "it does not say why")
        elif words:
            self._fail(place, words)
        elif again and self._further(place):
            self._follow.end(place, "was stopped from outside, and goes on", whole=False)
            self.waiting.insert(0, place)
        elif again:
            self._fail(place, "it was stopped from outside, again and again without getting further")
        else:
            self._follow.end(place, "stopped", whole=False)

    def _fail(self, place: str, why: str) -> None:
        self._failed[place] = why
        if place in self._follow.begun:
            self._follow.end(place, f"FAILED: {why}", whole=False)
        else:
            self._follow.say(f"{place}: FAILED: {why}")

    def _further(self, place: str) -> bool:
        """Whether a run that was stopped has come further than when it was last."""
        step = (told(self._folder, place) or {}).get("step", 0)
        count, before = self._restarts.get(place, (0, -1))
        self._restarts[place] = count + 1, step
        return step > before and count < RESTARTS


def finished(folder: Path, places: Iterable[str]) -> set[str]:
    """Those of the runs that are done."""
    states = {place: state_of(folder, place) for place in places}
    return {place for place, state in states.items() if state is not None and state.status == "done"}
