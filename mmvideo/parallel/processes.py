"""Set-up of many processes, which find each other by the environment from their launcher.

| launcher | variables that it sets | effect |
|---|---|---|
| any | `MMVIDEO_COORDINATOR` (host:port of process 0), `MMVIDEO_PROCESSES`, `MMVIDEO_PROCESS` | these are used |
| Kubernetes, an indexed job | the first two by hand; `JOB_COMPLETION_INDEX` is the process | these are used |
| SLURM, several tasks by `srun` | `SLURM_NTASKS`, `SLURM_PROCID`, … | JAX reads them; for GPUs see below |
| Open MPI 4 | `OMPI_COMM_WORLD_SIZE`, … | JAX reads them |
| TPU slices on Kubernetes | `TPU_WORKER_HOSTNAMES` of several, or `MEGASCALE_NUM_SLICES` above 1 | JAX reads them |
| TPU VMs, any other that JAX knows | `MMVIDEO_COORDINATOR=auto` | JAX asks the machine |
| none | nothing | one process, nothing to set up |

The first line that fits counts. A SLURM batch script is one process, however many tasks its job has: `srun` starts
them. `tools/launch/` has a script for each.

Under SLURM, JAX would give every process one GPU: the one whose index is the index of the task on the node. That is
correct only if there is one task per GPU and each task sees all GPUs. A task with the whole node would use one GPU of
eight, and a task to which SLURM shows only its own GPU would look for another (`local_devices`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import jax

from mmvideo.parallel.find_devices import find_devices

COORDINATOR, PROCESSES, PROCESS = "MMVIDEO_COORDINATOR", "MMVIDEO_PROCESSES", "MMVIDEO_PROCESS"

VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Variables with the GPUs that a process sees, a list with commas."""


def initialize(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Join the processes of this run; call it before anything else asks JAX for devices.

    Args:
      environment: `os.environ` if None.

    Returns:
      Index of this process, and the number of processes.

    Raises:
      ValueError: variables that are incomplete, not numeric, or don't fit each other.
      DeviceError: there are no devices of the kind that `JAX_PLATFORMS` asks for.
      RuntimeError: from JAX, if the other processes cannot be reached in time.
    """
    environment = os.environ if environment is None else environment
    if not jax.distributed.is_initialized():
        arguments = distributed_arguments(environment)
        if arguments is not None:
            jax.distributed.initialize(**arguments)
    find_devices()
    return jax.process_index(), jax.process_count()


def distributed_arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the arguments of `jax.distributed.initialize`, or None for a single process; JAX detects those left out.

    Raises:
      ValueError: as for `initialize`.
    """
    # An empty dict lets JAX detect everything; None starts no distributed run.
    coordinator = environment.get(COORDINATOR)
    if coordinator == "auto":
        return {}
    if coordinator or PROCESSES in environment or PROCESS in environment:
        return _plain_arguments(environment)
    if _slurm_tasks(environment) > 1:
        return _slurm_arguments(environment)
    return {} if _several_by_others(environment) else None


def _plain_arguments(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments from the variables of mmvideo."""
    given = {COORDINATOR: environment.get(COORDINATOR), PROCESSES: environment.get(PROCESSES)}
    given[PROCESS] = environment.get(PROCESS, environment.get("JOB_COMPLETION_INDEX"))
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ValueError(f"a run of several processes needs {', '.join(given)}: set {', '.join(missing)} as well")
    count, number = _whole_number(PROCESSES, given[PROCESSES]), _whole_number(PROCESS, given[PROCESS])
    if not 0 <= number < count:
        raise ValueError(f"{PROCESS} is {number}, but must be from 0 to {PROCESSES} - 1 = {count - 1}")
    if ":" not in given[COORDINATOR]:
        raise ValueError(f"{COORDINATOR} is {given[COORDINATOR]!r}, but must be host:port of process 0, or auto")
    return {
        "coordinator_address": given[COORDINATOR],
        "num_processes": count,
        "process_id": number,
        # Nothing is left to detect. In a pod JAX would ask the cluster's API, which needs a package and a permission.
        "cluster_detection_method": "deactivate",
    }


def _whole_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, but must be a whole number") from None


def _slurm_tasks(environment: Mapping[str, str]) -> int:
    """Return the number of tasks of the step that this process belongs to; 1 outside of a step."""
    if "SLURM_STEP_NODELIST" not in environment or "SLURM_PROCID" not in environment:
        return 1
    return int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1")))


def _slurm_arguments(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the GPUs of this task, if SLURM's variables identify them; JAX detects the rest."""
    if environment.get("JAX_LOCAL_DEVICE_IDS"):
        return {}
    own = local_devices(environment)
    return {} if own is None else {"local_device_ids": own}


def local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Return the indices of a SLURM task's own GPUs among those that it sees.

    Returns:
      Their indices; empty: all that it sees. None if no variable lists the GPUs, as on CPUs.

    Raises:
      ValueError: the tasks of a node do not divide its GPUs.
    """
    seen = next((environment[name].split(",") for name in VISIBLE if environment.get(name)), None)
    tasks = _tasks_on_node(environment)
    if tasks == 1:
        return []
    if seen is None or tasks is None:
        return None
    if len(seen) == 1 or len(seen) < int(environment.get("SLURM_GPUS_ON_NODE") or 0):
        # SLURM has bound the visible GPUs to this task.
        return []
    if len(seen) % tasks:
        raise ValueError(
            f"{tasks} tasks on a node of {len(seen)} GPUs: start one task per GPU (srun "
            f"--ntasks-per-node={len(seen)}), or one per node"
        )
    # Example: 8 visible GPUs and 2 tasks on the node: task 1 has the GPUs 4 to 7.
    share = len(seen) // tasks
    task = int(environment["SLURM_LOCALID"])
    return list(range(task * share, (task + 1) * share))


def _tasks_on_node(environment: Mapping[str, str]) -> int | None:
    """Return the tasks of the step on this node; SLURM writes `8(x3),4` for three nodes of 8 tasks and one of 4."""
    counts: list[int] = []
    for part in environment.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            return None
        # Example: "8(x3),4" gives [8, 8, 8, 4].
        counts += [int(found[1])] * int(found[2] or 1)
    node = int(environment.get("SLURM_NODEID", "0"))
    return counts[node] if node < len(counts) else None


def _several_by_others(environment: Mapping[str, str]) -> bool:
    """Return whether Open MPI started more than one process, or this is one of several hosts with TPUs."""
    counts = (environment.get("OMPI_COMM_WORLD_SIZE", "1"), environment.get("MEGASCALE_NUM_SLICES", "1"))
    return any(count.isdigit() and int(count) > 1 for count in counts) or "," in environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )
