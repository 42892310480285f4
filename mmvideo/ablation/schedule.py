"""The schedule of a tier's runs: it skips finished runs, and goes on after failures."""

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
"""Seconds between two checks of the running jobs."""

IDLE = ("input.keep", "input.memory", "input.threads", "input.prefetch", "training.init_from")
"""Fields that do not change a result; the path in `init_from` changes when a tier's folder is moved."""

RESTARTS = 20
"""Limit on restarts of a run that was stopped from outside but made progress."""


@dataclasses.dataclass(frozen=True)
class RunsOutcome:
    """The outcome of a schedule.

    Attributes:
      done: folder names of the finished runs.
      failed: reason of each failure, by folder name.
      left: folder names of runs that were not started or not finished.
    """

    done: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the schedule.

    Attributes:
      experiment: the settings.
      need: folder name of the run whose checkpoint it starts from, or None.
    """

    experiment: Experiment
    need: str | None = None


def runs_of(folder: Path, cells: Iterable[Cell], before: Mapping[str, Experiment]) -> dict[str, Run]:
    """Return the runs that the cells need, by folder name: shared runs first, equal runs once.

    Args:
      folder: folder of the tier.
      cells: cells of its tables.
      before: shared runs, by name.

    Raises:
      ConfigError: a cell starts from a shared run that the tier does not have, or a started run had other settings.
    """
    names = _first_of_equal(before)
    own = {cell.place: _run_of(folder, cell, names) for cell in cells}
    needs = {run.need for run in own.values()}
    # Only shared runs that some wanted cell needs: a subset of studies may need none.
    shared = {_shared(name): Run(before[name]) for name in dict.fromkeys(names.values()) if _shared(name) in needs}
    runs = shared | own
    for place, run in runs.items():
        _check_unchanged(folder, place, run.experiment)
    return runs


def write_down(folder: Path, runs: Mapping[str, Run]) -> None:
    """Write the settings of every run to the file that its process reads."""
    for place, run in runs.items():
        write_whole(folder / SETTINGS / f"{place}.json", to_json(run.experiment))


def _first_of_equal(before: Mapping[str, Experiment]) -> dict[str, str]:
    """Map each shared run to the first with equal settings: {"a": "a", "b": "a"} where only the names differ."""
    first: dict[str, str] = {}
    settings = {name: to_json(dataclasses.replace(experiment, name="")) for name, experiment in before.items()}
    return {name: first.setdefault(settings[name], name) for name in before}


def _run_of(folder: Path, cell: Cell, names: Mapping[str, str]) -> Run:
    """Return the run of a cell, with the path of the shared run that it starts from."""
    start = cell.experiment.training.init_from
    if start is None or not start.startswith(SHARED):
        return Run(cell.experiment)
    name = names.get(start.removeprefix(SHARED))
    if name is None:
        raise ConfigError(f"{cell.title} starts from {start}, but the tier shares {', '.join(names) or 'nothing'}")
    # "shared:pretrained" becomes "/…/TIER/cells/shared-pretrained", whose newest checkpoint the run loads.
    path = str((folder / CELLS / _shared(name)).absolute())
    return Run(override(cell.experiment, {"training.init_from": path}), _shared(name))


def _check_unchanged(folder: Path, place: str, experiment: Experiment) -> None:
    """Raise if a run with other settings was started in this folder: its results must not appear under the new ones.

    Raises:
      ConfigError: the settings differ; the message names the first field.
    """
    path = folder / SETTINGS / f"{place}.json"
    if not path.is_file() or not (folder / CELLS / place).is_dir():
        return
    changed = differences({"there": load_experiment(path), "here": experiment})
    for field, values in changed.items():
        if field not in IDLE:
            there, here = (json.dumps(values[side]) for side in ("there", "here"))
            raise ConfigError(
                f"{place} was begun with other settings: {field} ({there} there, {here} here); give another "
                f"--folder, or remove {folder} to start again"
            )


def _shared(name: str) -> str:
    """Return the folder name of a shared run."""
    return f"shared-{name}"


def run_all(folder: Path, runs: Mapping[str, Run], launcher: Launcher, follow: SuiteProgress) -> RunsOutcome:
    """Run all that is not finished.

    On Ctrl-C the running jobs save and stop; the same call resumes them and the rest.

    Args:
      folder: folder of the tier.
      runs: runs by folder name.
      launcher: starts the runs.
      follow: reports progress.
    """
    board = _Board(folder, dict(runs), launcher, follow)
    try:
        while board.waiting or board.running:
            board.start()
            time.sleep(PAUSE)
            board.collect()
    except KeyboardInterrupt:
        follow.say(f"stopping: {len(board.running)} runs are asked to save and stop; the same command resumes them")
        board.stop()
    finally:
        follow.close()
    return board.outcome()


class _Board:
    """The state of a schedule: waiting, running, finished and failed runs.

    Each run is in exactly one of the four; a run that was stopped from outside goes back to waiting.
    """

    def __init__(self, folder: Path, runs: dict[str, Run], launcher: Launcher, follow: SuiteProgress):
        self._folder, self._runs, self._launcher, self._follow = folder, runs, launcher, follow
        self._done = finished(folder, runs)
        self._failed: dict[str, str] = {}
        # By run: restarts so far, and the step of the last stop.
        self._restarts: dict[str, tuple[int, int]] = {}
        self.waiting = [place for place in runs if place not in self._done]
        self.running: dict[str, Any] = {}

    def start(self) -> None:
        """Start the waiting runs that have their checkpoint and a free slot; fail those whose shared run failed."""
        # A copy, since started and failed runs are removed from the list on the way.
        for place in list(self.waiting):
            need = self._runs[place].need
            if need in self._failed:
                self.waiting.remove(place)
                self._fail(place, f"{need}, from which it starts, failed")
            elif len(self.running) < self._launcher.jobs and (need is None or need in self._done):
                self.waiting.remove(place)
                # The state of an earlier failure goes, so that only this attempt counts.
                (self._folder / STATE / f"{place}.json").unlink(missing_ok=True)
                self._follow.begin(place)
                self.running[place] = self._launcher.start(self._folder, place)

    def collect(self) -> None:
        """Remove the jobs that have ended, and update the progress of the others."""
        # A copy, since ended jobs are removed from the dict on the way.
        for place, job in list(self.running.items()):
            words = self._launcher.ended(job)
            if words is not None:
                del self.running[place]
                self._end(place, words)
        self._follow.look(list(self.running))

    def stop(self) -> None:
        """Ask the running jobs to stop, and wait for them."""
        self._launcher.stop(list(self.running.values()))
        for place in self.running:
            self._end(place, "", again=False)
        self.running = {}

    def outcome(self) -> RunsOutcome:
        """Return the outcome so far."""
        left = [place for place in self._runs if place not in self._done and place not in self._failed]
        return RunsOutcome(tuple(place for place in self._runs if place in self._done), self._failed, tuple(left))

    def _end(self, place: str, words: str, again: bool = True) -> None:
        # Four ends: the run wrote `done`; it wrote `failed`; the process died without a state (`words` says how); it
        # saved and stopped on a signal, which leaves neither, and the run is resumed.
        """Record how a job ended: by its state file first, then by what the launcher says of the process."""
        state = state_of(self._folder, place)
        if state is not None and state.status == "done":
            self._done.add(place)
            self._follow.end(place, f"done in {clock(state.seconds)}", whole=True)
        elif state is not None:
            self._fail(place, state.why or "it does not say why")
        elif words:
            self._fail(place, words)
        elif again and self._further(place):
            self._follow.end(place, "was stopped from outside, and is resumed", whole=False)
            self.waiting.insert(0, place)
        elif again:
            self._fail(place, "it was stopped from outside repeatedly, without progress")
        else:
            self._follow.end(place, "stopped", whole=False)

    def _fail(self, place: str, why: str) -> None:
        """Record a failure and report it."""
        self._failed[place] = why
        if place in self._follow.begun:
            self._follow.end(place, f"FAILED: {why}", whole=False)
        else:
            self._follow.say(f"{place}: FAILED: {why}")

    def _further(self, place: str) -> bool:
        """Return True if a stopped run is past the step of its previous stop, and has restarts left."""
        step = (told(self._folder, place) or {}).get("step", 0)
        # Before the first stop the step is -1, so that a run stopped at step 0 gets a second chance. Stops at steps
        # 0, 40, 40: restarted, restarted, failed.
        count, before = self._restarts.get(place, (0, -1))
        self._restarts[place] = count + 1, step
        return step > before and count < RESTARTS


def finished(folder: Path, places: Iterable[str]) -> set[str]:
    """Return the runs that are done."""
    states = {place: state_of(folder, place) for place in places}
    return {place for place, state in states.items() if state is not None and state.status == "done"}
