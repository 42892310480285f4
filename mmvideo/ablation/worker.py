"""The process of one cell: `python -m mmvideo.ablation.worker FOLDER PLACE [CORES]`.

`FOLDER/settings/PLACE.json` holds the settings of the run, `FOLDER/cells/PLACE` is its workdir, and
`FOLDER/state/PLACE.json` says how it ended. A lock keeps two processes from the same cell. A cell that was stopped or
killed resumes from its last checkpoint.
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
"""Subfolders of a tier: settings of runs, workdirs, final states, and output."""

PATIENCE = 180.0
"""Seconds to wait for another process of the same cell, which may be saving after a stop."""

PR_SET_PDEATHSIG = 1
"""Option of Linux's `prctl`: the signal that a process receives when its parent ends."""


@dataclasses.dataclass(frozen=True)
class State:
    """The final state of a cell.

    Attributes:
      status: `done` or `failed`.
      why: one line about the failure, or None.
      seconds: wall time of all its starts.
      commit: commit of the code, with a `+` where files were changed; empty outside a checkout.
      versions: versions of the main packages.
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
    """Return the final state of a cell; None where it has not ended, or where its state file is damaged.

    A damaged file is reported on stderr; the cell is run again, and resumes from its last checkpoint.
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
    """Run or resume a cell, and write its final state.

    Returns:
      0 when it is done, now or before; 1 when it failed; 3 when it was asked to stop and can be resumed.

    Raises:
      RuntimeError: another process runs the cell, and did not end within `PATIENCE`.
    """
    from mmvideo.parallel.processes import initialize

    folder = Path(folder)
    number, count = initialize()
    # Of a multi-host run only process 0 holds the lock and writes the state.
    if number > 0:
        return _train(folder, place)
    with _alone(folder / STATE / f".{place}.lock"):
        known = state_of(folder, place)
        # With several processes all must enter training together, so none may return early; a finished run ends at once
        # there.
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
    """Train the cell and return the exit code of the run."""
    from mmvideo.experiment.run import run

    return run(load_experiment(folder / SETTINGS / f"{place}.json"), folder / CELLS / place)


def _write(folder: Path, place: str, status: Literal["done", "failed"], why: str | None) -> None:
    """Write the final state of a cell."""
    # The ledger covers all starts of the run, so a resumed run counts the time before its stop too.
    seconds = sum(line.get("wall", 0.0) for line in read_lines(folder / CELLS / place / "ledger.jsonl"))
    state = State(status, why, seconds, commit(), _versions(), _machine(), time.time())
    sealed = seal(dataclasses.asdict(state))
    write_whole(folder / STATE / f"{place}.json", json.dumps(sealed, indent=2) + "\n")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on a file. The kernel releases it when the process ends, in whatever way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE
    with path.open("a") as file:
        # Polled, since flock has no timeout.
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
    """Return the versions of the main packages."""
    from mmvideo.experiment.diagnostics.versions import installed

    names = ("jax", "jaxlib", "flax", "optax", "numpy", "av")
    return {"python": platform.python_version()} | {name: installed(name) or "" for name in names}


def _machine() -> str:
    """Return the devices and the processor in words."""
    import jax

    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind}, {platform.processor() or platform.machine()}"


def main(arguments: list[str]) -> int:
    """Run the command. With cores, a local launcher started it, and it stops when that process ends."""
    folder, place, *cores = arguments
    if cores:
        _settle([int(core) for core in cores[0].split(",")])
    return run_cell(folder, place)


def command(folder: Path, place: str, cores: Sequence[int] = ()) -> list[str]:
    """Return the command that runs a cell, on these cores of this machine if any are given."""
    own = [",".join(map(str, cores))] if cores else []
    return [sys.executable, "-m", "mmvideo.ablation.worker", str(folder), place, *own]


def _settle(cores: Sequence[int]) -> None:
    """Pin the process to its cores, and request SIGTERM when its parent ends (Linux only)."""
    # XLA sizes its thread pool by these cores, so it must be set before JAX starts.
    os.sched_setaffinity(0, cores)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def told(folder: Path, place: str) -> dict[str, Any] | None:
    """Return the last line of a cell's metrics; None before the first."""
    lines = read_lines(folder / CELLS / place / "metrics.jsonl")
    return lines[-1] if lines else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
