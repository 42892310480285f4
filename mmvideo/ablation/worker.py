"""One cell of a suite, run in a process of its own: `python -m mmvideo.ablation.worker FOLDER PLACE [CORES]`.

The settings of the run lie in `FOLDER/settings/PLACE.json`; its workdir is `FOLDER/cells/PLACE`, and
`FOLDER/state/PLACE.json` says how it ended. A lock keeps two processes from the same cell. A cell that was stopped or
killed goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import functools
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mmvideo.ablation.git import commit
from mmvideo.experiment.config import load_experiment
from mmvideo.records.lines import read_lines
from mmvideo.records.sealed import DamagedRecord, seal, unseal
from mmvideo.records.whole import write_whole

SETTINGS, CELLS, STATE, LOG = "settings", "cells", "state", "log"
"""Folders of a tier: settings of runs, their workdirs, how they ended, what they said."""

PATIENCE = 180.0
"""Seconds to wait for another process that is at the same cell: it may be saving after a stop."""

PR_SET_PDEATHSIG = 1
"""Of `prctl`: the signal that a process gets when its parent is gone."""


@dataclasses.dataclass(frozen=True)
class State:
    """How a cell ended.

    Attributes:
      status: `done` or `failed`.
      why: in one line, of what failed.
      seconds: of all its starts together, on the machine that ran it.
      commit: of the code, with a `+` where files were changed; empty outside a checkout.
      versions: of the packages that matter.
      machine: devices and processor.
      ended: seconds since 1970.
    """

    status: Literal["done", "failed"]
    why: str | None
    seconds: float
    commit: str
    versions: dict[str, str]
    machine: str
    ended: float


def state_of(folder: Path, place: str) -> State | None:
    """How a cell ended; None where it has not, or where the file that says so is damaged, which is said on stderr.

    Such a cell is run again, and finds itself at its last checkpoint.
    """
    path = folder / STATE / f"{place}.json"
    if not path.is_file():
        return None
    known = {field.name for field in dataclasses.fields(State)}
    try:
        found = unseal(path.read_bytes(), str(path), known)
        if set(found) != known:
            raise DamagedRecord(f"{path} is damaged: it has {', '.join(sorted(found))}, and not a state's names")
        return State(**found)
    except DamagedRecord as error:
        _say_once(f"mmvideo: {error}; the cell counts as not ended, and is run again from its last checkpoint")
        return None


@functools.cache
def _say_once(words: str) -> None:
    print(words, file=sys.stderr)


def run_cell(folder: str | Path, place: str) -> int:
    """Runs or resumes a cell, and writes how it ended.

    Returns:
      0 when it is done, now or before; 1 when it failed; 3 when it was asked to stop and can go on.

    Raises:
      RuntimeError: another process is at the cell, and goes on with it.
    """
    from mmvideo.parallel.processes import initialize

    folder = Path(folder)
    number, count = initialize()
    if number > 0:
        return _train(folder, place)
    with _alone(folder / STATE / f".{place}.lock"):
        known = state_of(folder, place)
        if count == 1 and known is not None and known.status == "done":
            return 0
        try:
            code = _train(folder, place)
        except Exception as error:
            import traceback

            traceback.print_exc()
            _write(folder, place, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
            return 1
        if code == 0:
            _write(folder, place, "done", None)
        return code


def _train(folder: Path, place: str) -> int:
    from mmvideo.experiment.run import run

    return run(load_experiment(folder / SETTINGS / f"{place}.json"), folder / CELLS / place)


def _write(folder: Path, place: str, status: Literal["done", "failed"], why: str | None) -> None:
    seconds = sum(line.get("wall", 0.0) for line in read_lines(folder / CELLS / place / "ledger.jsonl"))
    state = State(status, why, seconds, commit(), _versions(), _machine(), time.time())
    sealed = seal(dataclasses.asdict(state))
    write_whole(folder / STATE / f"{place}.json", json.dumps(sealed, indent=2) + "\n")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock, which goes with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RuntimeError(f"another process is at {path.stem.removeprefix('.')}") from None
                time.sleep(0.5)
        yield


def _versions() -> dict[str, str]:
    from mmvideo.experiment.diagnostics.versions import installed

    names = ("jax", "jaxlib", "flax", "optax", "numpy", "av")
    return {"python": platform.python_version()} | {name: installed(name) or "" for name in names}


def _machine() -> str:
    import jax

    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind}, {platform.processor() or platform.machine()}"


def main(arguments: list[str]) -> int:
    """The command. With cores it was started by another process here, and lives no longer than that."""
    folder, place, *cores = arguments
    if cores:
        _settle([int(core) for core in cores[0].split(",")])
    return run_cell(folder, place)


def command(folder: Path, place: str, cores: Sequence[int] = ()) -> list[str]:
    """What runs a cell, on these cores of this machine."""
    own = [",".join(map(str, cores))] if cores else []
    return [sys.executable, "-m", "mmvideo.ablation.worker", str(folder), place, *own]


def _settle(cores: Sequence[int]) -> None:
    """Keeps to its cores, and is asked to stop when the one that started it is gone (on Linux)."""
    os.sched_setaffinity(0, cores)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def told(folder: Path, place: str) -> dict[str, Any] | None:
    """The last line of a cell's metrics, while it runs."""
    lines = read_lines(folder / CELLS / place / "metrics.jsonl")
    return lines[-1] if lines else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
