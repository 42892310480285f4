"""A cell as a job of SLURM: what it asks the cluster for, and how it goes on when its time is up.

A task a GPU, as `tools/launch/train.sbatch` has it; `mmvideo.parallel.processes` joins them by SLURM's variables. Two
signals can end a job before its run is done:

- its time is up: SLURM sends SIGUSR2 to every task `LEFT` seconds before. The run saves and ends, the job is queued
  again under the same number, and goes on from that checkpoint;
- SIGTERM, of a preemption or of `scancel`: the run saves and ends too, and whoever submitted it submits it again, or
  not.
"""

from __future__ import annotations

import difflib
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from mmvideo.ablation.launchers.local import STOPPED
from mmvideo.ablation.worker import run_cell
from mmvideo.cost_model.devices import Device
from mmvideo.experiment.config import ConfigError

LONGEST = 48
"""Hours that a job asks for at most: queues rarely take longer ones, and it goes on by itself."""

MARGIN, MORE = 1.5, 60
"""A job asks for the planned time, whose pace is partly assumed, times this, and minutes for compiling, evaluation and
the reading of clips."""

UNPLANNED = 240
"""Minutes that a job asks for whose device isn't named, so that nothing says how long it takes."""

CORES = 12
"""Cores of a GPU: what most hosts of eight have for each. Loading needs them; `mmvideo plan` tells how many."""

LEFT = 300
"""Seconds before the end of its time in which a job hears of it: for the step at hand, and a checkpoint."""

AGAIN = 100
"""How often at most a job is queued again because its time was up."""

LOST = ("TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
"""States of jobs that ended for no reason of their own: another one goes on from the last checkpoint."""

SETUP = (
    # Since 22.05 a step does not get the cores of its tasks from sbatch unless told.
    'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
    'export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/mmvideo/jax}"',
    'export JAX_OPTIMIZATION_LEVEL="${JAX_OPTIMIZATION_LEVEL:-O1}"',
    # The share of a GPU's memory that plans fill.
    'export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"',
)


def job(device: Device | None, devices: int, hours: float | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a job, by the names of sbatch.

    Args:
      device: what the run is on; None asks for no GPU.
      devices: how many of them.
      hours: that it is planned to take; None where nobody knows.
      given: parameters that were asked for, which count before these.

    Raises:
      ConfigError: devices that are no GPUs, or don't fill hosts evenly.
    """
    # Clusters may forbid that a job is queued again unless it says that it can be.
    again = {"additional_parameters": {"requeue": True}}
    found = {"time": _minutes(hours), "setup": list(SETUP), "stderr_to_stdout": True} | again | given
    left = {"signal_delay_s": min(LEFT, 30 * found["time"]) if isinstance(found["time"], int) else LEFT}
    return left | _hosts(device, devices) | found


def _hosts(device: Device | None, devices: int) -> dict[str, int]:
    """A task a GPU."""
    if device is None:
        return {"nodes": 1, "ntasks_per_node": 1, "cpus_per_task": CORES}
    if device.dimensions:
        raise ConfigError(f"--launcher slurm starts jobs on GPUs, and {device.title} is none: take jobset")
    nodes = math.ceil(devices / device.host)
    if devices % nodes:
        raise ConfigError(f"--devices {devices} don't fill {nodes} hosts of {device.host} evenly: take a multiple")
    share = devices // nodes
    return {"nodes": nodes, "ntasks_per_node": share, "gpus_per_node": share, "cpus_per_task": CORES}


def _minutes(hours: float | None) -> int:
    """What is asked for, in whole half hours."""
    if hours is None:
        return UNPLANNED
    return min(30 * math.ceil((60 * hours * MARGIN + MORE) / 30), 60 * LONGEST)


class Slurm:
    """Jobs of SLURM, one a cell, by submitit.

    Args:
      folder: where submitit keeps its files.
      parameters: of the job of a place, by the names of sbatch.
      jobs: how many at a time.
      cluster: `slurm`; or `local`, which lets submitit run the same jobs as processes here.

    Raises:
      ConfigError: without submitit or SLURM, or for parameters that make no job.
    """

    def __init__(
        self, folder: Path, parameters: Callable[[str], Mapping[str, Any]], jobs: int = 64, cluster: str = "slurm"
    ):
        if cluster == "slurm" and shutil.which("srun") is None:
            raise ConfigError("--launcher slurm: there is no srun here; start it on a login node of the cluster")
        self._executor, self._parameters, self._local = _executor(folder, cluster), parameters, cluster == "local"
        self.jobs = jobs

    def start(self, folder: Path, place: str) -> Any:
        """Submits a cell."""
        own = self._parameters(place)
        _update(self._executor, _as_local(own) if self._local else own | {"job_name": place[:60]})
        return self._executor.submit(Work(str(folder.absolute()), place, own["signal_delay_s"]))

    def ended(self, job: Any) -> str | None:
        """Whether the job has ended; what submitit says of one that ended without an answer."""
        if not job.done():
            return None
        error = job.exception()
        if error is None or job.state in LOST:
            return ""
        return f"job {job.job_id}: {' '.join(str(error).split())[-400:]}"

    def stop(self, jobs: Sequence[Any]) -> None:
        """Cancels the jobs, which get SIGTERM first: they resume from their last checkpoint."""
        for job in jobs:
            job.cancel(check=False)


def script(folder: Path, parameters: Mapping[str, Any], place: str) -> str:
    """The script that `Slurm` submits for a cell; raises as that does, but needs no SLURM.

    Args:
      folder: where submitit keeps its files.
      parameters: of its job, by the names of sbatch.
      place: of the cell.
    """
    made = _executor(folder, "slurm")
    _update(made, {**parameters, "job_name": place[:60]})
    return made._make_submission_file_text(made._submitit_command_str, "")


def named_as_sbatch(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by the names of sbatch: `partition`, `slurm_partition` and submitit's `timeout_min` are all known.

    Raises:
      ConfigError: a name that nothing takes, with what is near; there is no submitit.
    """
    if not given:
        return {}
    executor, found = _submitit().SlurmExecutor, {}
    known, common = executor._valid_parameters(), executor._equivalence_dict()
    for name, value in given.items():
        plain = name.removeprefix("slurm_").replace("-", "_")
        value = f"{value}GB" if plain == "mem_gb" else value
        plain = common.get(plain, plain)
        if plain not in known:
            near = difflib.get_close_matches(plain, known, 1)
            raise ConfigError(
                f"--slurm {name}={value}: there is no parameter '{plain}'"
                + (f"; do you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(known))}")
            )
        found[plain] = value
    return found


def _executor(folder: Path, cluster: str) -> Any:
    """That of submitit. One of SLURM is made without a look for it, so that a script can be shown anywhere."""
    submitit = _submitit()

    class Anywhere(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    return (submitit.LocalExecutor if cluster == "local" else Anywhere)(folder, max_num_timeout=AGAIN)


def _update(executor: Any, parameters: Mapping[str, Any]) -> None:
    try:
        executor.update_parameters(**parameters)
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"--slurm: {error}") from None


def _as_local(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What submitit's local executor takes of it: one task, since those of several would not find each other."""
    known = {"time": "timeout_min", "gpus_per_node": "gpus_per_node", "signal_delay_s": "signal_delay_s"}
    return {known[name]: value for name, value in parameters.items() if name in known}


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise ConfigError("--launcher slurm needs submitit: pip install 'mmvideo[slurm]'") from None
    return submitit


class Work:
    """What a job calls: a cell, which is queued again with its job when the time of that is up.

    Args:
      folder: of the tier, absolute.
      place: of the cell.
      left: seconds between the signal and the end.
    """

    def __init__(self, folder: str, place: str, left: float = LEFT):
        self.folder, self.place, self.left = folder, place, left

    def __call__(self) -> int:
        """Runs or resumes the cell; gives what `run_cell` does, if the job ends here."""
        end = _End(self.left)
        code = run_cell(self.folder, self.place)
        end.close()
        if code == STOPPED and end.heard:
            end.queue_again()
        return code

    def checkpoint(self) -> Any:
        """What submitit submits in place of this one: the same. What was learned lies in the workdir."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _End:
    """Hears that the time is up.

    The first thing is to ask the run to save and end, as SIGTERM does. Where it doesn't before it is too late, in its
    compilation or an evaluation, it is queued again at once: nothing but that is lost.
    """

    def __init__(self, left: float):
        self.heard = False
        self._late = threading.Timer(0.8 * left, self._too_late)
        self._late.daemon = True
        number = signal.SIGUSR2
        self._submitit: Callable[[int, FrameType | None], None] = signal.getsignal(number)
        signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # A second SIGTERM would be obeyed at once.
        if self.heard:
            return
        self.heard = True
        self._late.start()
        os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        """The run has ended in time."""
        self._late.cancel()

    def queue_again(self) -> None:
        """Lets submitit queue the job again, if this is its first task, and ends the process without an answer."""
        self._submitit(signal.SIGUSR2, None)
        raise SystemExit(0)

    def _too_late(self) -> None:
        try:
            self._submitit(signal.SIGUSR2, None)
        except SystemExit as end:
            # A thread can't end the process otherwise.
            os._exit(int(end.code or 0) % 256)
