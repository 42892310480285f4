"""The launcher protocol, and a launcher of local processes; `slurm.py` has one for clusters."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from mmvideo.ablation.worker import LOG, command

STOPPED = 3
"""Exit code of a run that was asked to stop and can be resumed."""

PROGRAMS = "programs"
"""Subfolder of a tier for JAX's compilation cache, one per machine; seeds and many cells share programs."""

KEEPING = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736"
)
"""Value of `GLIBC_TUNABLES` that keeps the memory of a CPU step for the next step.

Without it, a toy cell had 65,000 page faults a second, and spent an eighth of its time in the kernel.
"""


Job = TypeVar("Job")
"""A launcher's own handle of a running cell: a process, or a job of a cluster."""


class Launcher(Protocol[Job]):
    """A launcher of cells.

    Attributes:
      jobs: number of cells that run side by side.
    """

    jobs: int

    def start(self, folder: Path, place: str) -> Job:
        """Start a cell and return a job for the other two methods."""
        ...

    def ended(self, job: Job) -> str | None:
        """Return None while the job runs; then an empty string, or why it ended without writing a state."""
        ...

    def stop(self, jobs: Sequence[Job]) -> None:
        """Ask jobs to save and stop, and wait for them."""
        ...


class Local:
    """A launcher of processes on this machine, each with its own core or GPU.

    Args:
      jobs: number of cells side by side; None is one per GPU, or one per core without a GPU.
      patience: seconds that a cell has for its current step and checkpoint after it was asked to stop.
    """

    def __init__(self, jobs: int | None = None, patience: float = 120.0):
        self._gpus, self._cores = _gpus(), sorted(os.sched_getaffinity(0))
        self.jobs = jobs or len(self._gpus) or len(self._cores)
        self._patience = patience
        self._free = list(range(self.jobs))

    def start(self, folder: Path, place: str) -> tuple[subprocess.Popen, int]:
        """Start a cell; its output goes to `FOLDER/log/PLACE.txt`."""
        # A seat is an index from 0 to jobs - 1 that stands for a GPU or a set of cores until the job ends.
        seat = self._free.pop(0)
        log = folder / LOG / f"{place}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as out:
            job = subprocess.Popen(
                command(folder, place, self._own_cores(seat)),
                stdout=out,
                stderr=subprocess.STDOUT,
                # Later dicts win: the user's environment over our defaults, the seat's GPU over both.
                env=self._environment(folder) | os.environ | self._device(seat),
                # A terminal sends Ctrl-C to its whole session: a session of their own lets this process stop its cells
                # in order.
                start_new_session=True,
            )
        return job, seat

    def ended(self, job: tuple[subprocess.Popen, int]) -> str | None:
        """Return None while the process runs; then an empty string, or the signal or exit code of a crash."""
        process, seat = job
        code = process.poll()
        if code is None:
            return None
        self._free.append(seat)
        if code < 0:
            return f"signal {signal.Signals(-code).name} ended it"
        return "" if code in (0, STOPPED) else f"exit code {code}"

    def stop(self, jobs: Sequence[tuple[subprocess.Popen, int]]) -> None:
        """Send SIGTERM to all, and SIGKILL after the patience: a killed cell resumes from its previous checkpoint."""
        # One deadline for all: the cells save at the same time.
        end = time.monotonic() + self._patience
        for process, _ in jobs:
            process.terminate()
        # All are asked before the first is waited for, so they save in parallel.
        for process, _ in jobs:
            try:
                process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self, folder: Path) -> dict[str, str]:
        """Return environment defaults that make runs faster; the user's own values take precedence."""
        kept = {"JAX_COMPILATION_CACHE_DIR": str((folder / PROGRAMS / platform.node()).absolute())}
        return kept if self._gpus else kept | {"GLIBC_TUNABLES": KEEPING}

    def _device(self, seat: int) -> dict[str, str]:
        """Return the environment variable that selects the seat's GPU."""
        return {"CUDA_VISIBLE_DEVICES": self._gpus[seat % len(self._gpus)]} if self._gpus else {}

    def _own_cores(self, seat: int) -> list[int]:
        """Return the seat's share of the cores; all cores where cells run on GPUs."""
        # 4 cores and 2 jobs: seat 0 gets cores [0, 2], seat 1 gets [1, 3]. With more jobs than cores the seats wrap
        # around.
        return self._cores if self._gpus else self._cores[seat % len(self._cores) :: self.jobs] or self._cores


def _gpus() -> list[str]:
    """Return the usable GPUs, by the names of `CUDA_VISIBLE_DEVICES`."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    # By nvidia-smi, not by JAX: importing JAX here would reserve memory on every GPU that the cells need.
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]
