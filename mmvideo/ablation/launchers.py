"""Where cells run: processes of this machine, or jobs of SLURM by submitit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmvideo.ablation.work import LOG, command, run_cell
from mmvideo.experiment.config import ConfigError

STOPPED = 3
"""Exit code of a run that was asked to stop and can go on."""


PROGRAMS = "programs"
"""Folder of a tier in which JAX keeps compiled programs, which seeds and many cells have in common."""

KEEPING = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736"
"""For `GLIBC_TUNABLES`: the memory of a step on a CPU is kept for the next. Given back and taken anew, it cost a toy
cell 65,000 page faults a second, and an eighth of its time went to the kernel."""


class Launcher(Protocol):
    """Starts cells, and says how they ended.

    Attributes:
      jobs: how many run side by side.
    """

    jobs: int

    def start(self, folder: Path, place: str) -> Any:
        """Starts a cell; gives what the other two take."""
        ...

    def ended(self, job: Any) -> str | None:
        """None while it runs; then why it ended without saying so itself, or an empty word."""
        ...

    def stop(self, jobs: Sequence[Any]) -> None:
        """Asks jobs to save and end, and waits until they have."""
        ...


class Local:
    """Processes of this machine, each with a core of its own, or a GPU.

    Args:
      jobs: how many side by side; None is one a GPU, or one a core where there is no GPU.
      patience: seconds that a cell which is asked to stop has for the step at hand and its checkpoint.
    """

    def __init__(self, jobs: int | None = None, patience: float = 120.0):
        self._gpus, self._cores = _gpus(), sorted(os.sched_getaffinity(0))
        self.jobs = jobs or len(self._gpus) or len(self._cores)
        self._patience = patience
        self._free = list(range(self.jobs))

    def start(self, folder: Path, place: str) -> tuple[subprocess.Popen, int]:
        """Starts a cell; what it says goes to `FOLDER/log/PLACE.txt`."""
        seat = self._free.pop(0)
        log = folder / LOG / f"{place}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as out:
            job = subprocess.Popen(
                command(folder, place, self._own_cores(seat)),
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment(folder) | os.environ | self._device(seat),
                # Ctrl-C goes to this process alone, which asks its cells one by one.
                start_new_session=True,
            )
        return job, seat

    def ended(self, job: tuple[subprocess.Popen, int]) -> str | None:
        """Whether the process has ended; a signal is named."""
        process, seat = job
        code = process.poll()
        if code is None:
            return None
        self._free.append(seat)
        if code < 0:
            return f"signal {signal.Signals(-code).name} ended it"
        return "" if code in (0, STOPPED) else f"exit code {code}"

    def stop(self, jobs: Sequence[tuple[subprocess.Popen, int]]) -> None:
        """SIGTERM to all, and SIGKILL when the patience is over: they resume from the checkpoint before."""
        end = time.monotonic() + self._patience
        for process, _ in jobs:
            process.terminate()
        for process, _ in jobs:
            try:
                process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self, folder: Path) -> dict[str, str]:
        """What makes it faster, unless the user has other plans."""
        kept = {"JAX_COMPILATION_CACHE_DIR": str((folder / PROGRAMS).absolute())}
        return kept if self._gpus else kept | {"GLIBC_TUNABLES": KEEPING}

    def _device(self, seat: int) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self._gpus[seat % len(self._gpus)]} if self._gpus else {}

    def _own_cores(self, seat: int) -> list[int]:
        """Its share of the cores, where cells share nothing but them."""
        return self._cores if self._gpus else self._cores[seat % len(self._cores) :: self.jobs] or self._cores


class Slurm:
    """Jobs of SLURM, one a cell, by submitit.

    Args:
      folder: where submitit keeps its files.
      parameters: of submitit, such as `{"slurm_partition": "gpu", "timeout_min": 240, "gpus_per_node": 8}`.
      jobs: how many at a time.
      cluster: None is SLURM; `local` lets submitit run the same jobs as processes here.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], jobs: int = 64, cluster: str | None = "slurm"):
        if cluster == "slurm" and shutil.which("srun") is None:
            raise ConfigError("--launcher slurm: there is no srun here; start it on a login node of the cluster")
        submitit = _submitit()
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        try:
            self._executor.update_parameters(**parameters)
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"--slurm: {error}") from None
        self.jobs = jobs

    def start(self, folder: Path, place: str) -> Any:
        """Submits a cell."""
        self._executor.update_parameters(name=place[:60])
        return self._executor.submit(run_cell, str(folder.absolute()), place)

    def ended(self, job: Any) -> str | None:
        """Whether the job has ended; what submitit says of one that ended without an answer."""
        if not job.done():
            return None
        error = job.exception()
        return "" if error is None else f"job {job.job_id}: {' '.join(str(error).split())[-400:]}"

    def stop(self, jobs: Sequence[Any]) -> None:
        """Cancels the jobs, which get SIGTERM first: they resume from their last checkpoint."""
        for job in jobs:
            job.cancel(check=False)


def slurm_script(folder: Path, parameters: Mapping[str, Any], place: str) -> str:
    """The script that would be submitted for a cell; raises ConfigError without submitit."""
    _submitit()
    from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

    names = {**SlurmExecutor._equivalence_dict(), "timeout_min": "time"}
    own = {names.get(key.removeprefix("slurm_"), key.removeprefix("slurm_")): v for key, v in parameters.items()}
    return _make_sbatch_string(" ".join(command(folder, place)), folder / LOG, job_name=place[:60], **own)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise ConfigError("--launcher slurm needs submitit: pip install 'mmvideo[slurm]'") from None
    return submitit


def _gpus() -> list[str]:
    """The GPUs that may be used, as `CUDA_VISIBLE_DEVICES` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]
