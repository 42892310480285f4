"""The launcher of SLURM jobs: what a job requests, and how it resumes when its time is up.

A job has one task per GPU, as in `tools/launch/train.sbatch`; `mmvideo.parallel.processes` connects them by SLURM's
variables. Two signals can end a job before its run is done:

- Its time is up: SLURM sends SIGUSR2 to every task `LEFT` seconds before the limit. The run saves and stops, the job is
  requeued under the same number, and resumes from that checkpoint.
- SIGTERM, from a preemption or from `scancel`: the run saves and stops as well. Whoever submitted it decides whether to
  submit it again.
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
"""Largest number of hours that a job requests: queues rarely take longer jobs, and a job resumes by itself."""

MARGIN, MORE = 1.5, 60
"""A job requests the planned time, whose throughput is partly assumed, times `MARGIN`, plus `MORE` minutes.

The minutes are for compilation, evaluation and slow clip reading.
"""

UNPLANNED = 240
"""Minutes that a job requests where no device is named, so that its time cannot be planned."""

CORES = 12
"""Cores per GPU, which most hosts with eight GPUs have. Loading needs them; `mmvideo plan` says how many."""

LEFT = 300
"""Seconds between the warning signal and the time limit: enough for the current step and a checkpoint."""

AGAIN = 100
"""Limit on requeues of a job whose time was up."""

LOST = ("TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
"""States of jobs that ended through no fault of their own: the run is submitted again and resumes."""

SETUP = (
    # Since SLURM 22.05 srun does not inherit --cpus-per-task from sbatch, so it must be exported.
    'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
    'export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/mmvideo/jax}"',
    'export JAX_OPTIMIZATION_LEVEL="${JAX_OPTIMIZATION_LEVEL:-O1}"',
    # The fraction of a GPU's memory that plans fill.
    'export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"',
)


def job(device: Device | None, devices: int, hours: float | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a job, by the names of sbatch.

    Args:
      device: device of the run; None requests no GPU.
      devices: number of devices.
      hours: planned time; None where it is unknown.
      given: parameters from the user, which take precedence.

    Raises:
      ConfigError: devices that are not GPUs, or do not fill hosts evenly.
    """
    # Clusters may forbid requeuing of jobs that do not declare it.
    again = {"additional_parameters": {"requeue": True}}
    found = {"time": _minutes(hours), "setup": list(SETUP), "stderr_to_stdout": True} | again | given
    # At most half of the job's time: 30 seconds per minute. A 5-minute test job is warned after 150 s.
    left = {"signal_delay_s": min(LEFT, 30 * found["time"]) if isinstance(found["time"], int) else LEFT}
    # Later dicts win: the user's parameters are in `found`, and override time, nodes and tasks.
    return left | _hosts(device, devices) | found


def _hosts(device: Device | None, devices: int) -> dict[str, int]:
    """Return the nodes and tasks of a job, one task per GPU."""
    if device is None:
        return {"nodes": 1, "ntasks_per_node": 1, "cpus_per_task": CORES}
    if device.dimensions:
        raise ConfigError(f"--launcher slurm starts jobs on GPUs, and {device.title} is none: take jobset")
    # Hosts of 8: 12 devices are 2 nodes of 6 tasks; 9 devices would need 4.5 tasks on each of 2 nodes, which is an
    # error.
    nodes = math.ceil(devices / device.host)
    if devices % nodes:
        raise ConfigError(f"--devices {devices} don't fill {nodes} hosts of {device.host} evenly: take a multiple")
    share = devices // nodes
    return {"nodes": nodes, "ntasks_per_node": share, "gpus_per_node": share, "cpus_per_task": CORES}


def _minutes(hours: float | None) -> int:
    """Return the requested minutes, rounded up to half hours."""
    if hours is None:
        return UNPLANNED
    # 6 minutes planned: 6 * 1.5 + 60 = 69 minutes, so 90 are requested.
    return min(30 * math.ceil((60 * hours * MARGIN + MORE) / 30), 60 * LONGEST)


class Slurm:
    """A launcher of SLURM jobs, one per cell, by submitit.

    Args:
      folder: folder for submitit's files.
      parameters: job parameters of a run folder name, by the names of sbatch.
      jobs: number of jobs at a time.
      cluster: `slurm`; or `local`, with which submitit runs the same jobs as local processes.

    Raises:
      ConfigError: submitit or SLURM is missing, or parameters are invalid.
    """

    def __init__(
        self, folder: Path, parameters: Callable[[str], Mapping[str, Any]], jobs: int = 64, cluster: str = "slurm"
    ):
        if cluster == "slurm" and shutil.which("srun") is None:
            raise ConfigError("--launcher slurm: there is no srun here; start it on a login node of the cluster")
        self._executor, self._parameters, self._local = _executor(folder, cluster), parameters, cluster == "local"
        self.jobs = jobs

    def start(self, folder: Path, place: str) -> Any:
        """Submit a cell."""
        own = self._parameters(place)
        _update(self._executor, _as_local(own) if self._local else own | {"job_name": place[:60]})
        return self._executor.submit(Work(str(folder.absolute()), place, own["signal_delay_s"]))

    def ended(self, job: Any) -> str | None:
        """Return None while the job is pending or runs; then an empty string, or submitit's error."""
        if not job.done():
            return None
        error = job.exception()
        # Without an error text the schedule decides by the state file: done, or to be submitted again.
        if error is None or job.state in LOST:
            return ""
        return f"job {job.job_id}: {' '.join(str(error).split())[-400:]}"

    def stop(self, jobs: Sequence[Any]) -> None:
        """Cancel the jobs. SLURM sends SIGTERM first, so they save; the next call resumes them."""
        for job in jobs:
            job.cancel(check=False)


def script(folder: Path, parameters: Mapping[str, Any], place: str) -> str:
    """Return the script that `Slurm` submits for a cell; it raises the same errors, but needs no SLURM.

    Args:
      folder: folder for submitit's files.
      parameters: job parameters, by the names of sbatch.
      place: run folder name of the cell.
    """
    made = _executor(folder, "slurm")
    _update(made, {**parameters, "job_name": place[:60]})
    return made._make_submission_file_text(made._submitit_command_str, "")


def named_as_sbatch(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by the names of sbatch.

    `partition`, `slurm_partition` and submitit's `timeout_min` are all accepted.

    Raises:
      ConfigError: an unknown name, with a suggestion; or submitit is missing.
    """
    if not given:
        return {}
    executor, found = _submitit().SlurmExecutor, {}
    known, common = executor._valid_parameters(), executor._equivalence_dict()
    for name, value in given.items():
        # "slurm_partition" becomes "partition", "mem_gb" 64 becomes "mem" "64GB", "timeout_min" becomes "time".
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
    """Return submitit's executor.

    That of SLURM does not check for SLURM, so that a script can be shown on any machine.
    """
    submitit = _submitit()

    class Anywhere(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    return (submitit.LocalExecutor if cluster == "local" else Anywhere)(folder, max_num_timeout=AGAIN)


def _update(executor: Any, parameters: Mapping[str, Any]) -> None:
    """Set the parameters of an executor.

    Raises:
      ConfigError: invalid parameters.
    """
    try:
        executor.update_parameters(**parameters)
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"--slurm: {error}") from None


def _as_local(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for submitit's local executor: one task, since several would not find each other."""
    known = {"time": "timeout_min", "gpus_per_node": "gpus_per_node", "signal_delay_s": "signal_delay_s"}
    return {known[name]: value for name, value in parameters.items() if name in known}


def _submitit() -> Any:
    """Import submitit.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise ConfigError("--launcher slurm needs submitit: pip install 'mmvideo[slurm]'") from None
    return submitit


class Work:
    """The callable of a job: it runs a cell, and requeues the job when its time is up.

    Args:
      folder: absolute folder of the tier.
      place: run folder name of the cell.
      left: seconds between the warning signal and the time limit.
    """

    def __init__(self, folder: str, place: str, left: float = LEFT):
        self.folder, self.place, self.left = folder, place, left

    def __call__(self) -> int:
        """Run or resume the cell; return the code of `run_cell` unless the job is requeued."""
        end = _End(self.left)
        code = run_cell(self.folder, self.place)
        end.close()
        # Stopped by SIGTERM alone (preemption, scancel) is not requeued here.
        if code == STOPPED and end.heard:
            end.queue_again()
        return code

    def checkpoint(self) -> Any:
        """Return the submission that submitit requeues: the same callable, since all progress is in the workdir."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _End:
    """The handler of the warning signal.

    It first asks the run to save and stop, by SIGTERM. If the run does not stop in time, because it compiles or
    evaluates, the job is requeued at once and only the progress since the last checkpoint is lost.
    """

    def __init__(self, left: float):
        self.heard = False
        # At 80 % of the remaining time: of 300 s, 240 s for the run to stop and 60 s to requeue the job.
        self._late = threading.Timer(0.8 * left, self._too_late)
        self._late.daemon = True
        number = signal.SIGUSR2
        self._submitit: Callable[[int, FrameType | None], None] = signal.getsignal(number)
        signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Ask the run to stop, and start the timer."""
        # A run obeys a second SIGTERM at once, without saving.
        if self.heard:
            return
        self.heard = True
        self._late.start()
        os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        """Cancel the timer: the run has ended in time."""
        self._late.cancel()

    def queue_again(self) -> None:
        """Requeue the job by submitit, from its first task only, and end the process without a result."""
        self._submitit(signal.SIGUSR2, None)
        raise SystemExit(0)

    def _too_late(self) -> None:
        """Requeue the job while the run is still busy."""
        try:
            self._submitit(signal.SIGUSR2, None)
        except SystemExit as end:
            # SystemExit ends only the thread that raises it, and the timer is a thread.
            os._exit(int(end.code or 0) % 256)
