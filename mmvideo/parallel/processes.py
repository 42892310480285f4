"""Many processes: they find each other by the environment that their launcher gives them.

| launcher | what it sets | what happens |
|---|---|---|
| any | `MMVIDEO_COORDINATOR` (host:port of process 0), `MMVIDEO_PROCESSES`, `MMVIDEO_PROCESS` | these are used |
| Kubernetes, an indexed job | the first two by hand; `JOB_COMPLETION_INDEX` is the process | these are used |
| SLURM, several tasks by `srun` | `SLURM_NTASKS`, `SLURM_PROCID`, … | JAX reads them; for GPUs see below |
| Open MPI 4 | `OMPI_COMM_WORLD_SIZE`, … | JAX reads them |
| TPU slices on Kubernetes | `TPU_WORKER_HOSTNAMES` of several, or `MEGASCALE_NUM_SLICES` above 1 | JAX reads them |
| TPU VMs, any other that JAX knows | `MMVIDEO_COORDINATOR=auto` | JAX asks the machine |
| none | nothing | one process, nothing to set up |

The first line that fits counts. A SLURM batch script is one process, however many tasks its job has: `srun` makes them.
`tools/launch/` has a script for each.

Under SLURM, JAX would give every process the one GPU whose number is that of its task on the node. That is right for a
task a GPU where each sees all of them, and only there: a task that has the node for itself would use one GPU of eight,
and a task to which SLURM shows its own GPU alone would look for another (`local_devices`).
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
"""Which GPUs of the machine a process sees, a list with commas."""


def initialize(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Joins the processes of this run; must come before anything else asks JAX for devices.

    Args:
      environment: `os.environ` if None.

    Returns:
      Number of this process, and how many there are.

    Raises:
      ValueError: variables that are incomplete, no numbers, or don't fit each other.
      DeviceError: there are no devices of the kind that `JAX_PLATFORMS` asks for.
      RuntimeError: from JAX, where the others cannot be reached in time.
    """
    environment = os.environ if environment is None else environment
    if not jax.distributed.is_initialized():
        arguments = distributed_arguments(environment)
        if arguments is not None:
            jax.distributed.initialize(**arguments)
    find_devices()
    return jax.process_index(), jax.process_count()


def distributed_arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`; what is not among them JAX finds. None for a single process.

    Raises:
      ValueError: as `initialize`.
    """
    coordinator = environment.get(COORDINATOR)
    if coordinator == "auto":
        return {}
    if coordinator or PROCESSES in environment or PROCESS in environment:
        return _plain_arguments(environment)
    if _slurm_tasks(environment) > 1:
        return _slurm_arguments(environment)
    return {} if _several_by_others(environment) else None


def _plain_arguments(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the variables of mmvideo say."""
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
        # All is said; in a pod JAX would ask the cluster's API, which needs another package and a permission.
        "cluster_detection_method": "deactivate",
    }


def _whole_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, but must be a whole number") from None


def _slurm_tasks(environment: Mapping[str, str]) -> int:
    """Tasks of the step that this process is one of; 1 outside a step."""
    if "SLURM_STEP_NODELIST" not in environment or "SLURM_PROCID" not in environment:
        return 1
    return int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1")))


def _slurm_arguments(environment: Mapping[str, str]) -> dict[str, Any]:
    """The GPUs of this task, where SLURM tells enough to know them; JAX finds the rest."""
    if environment.get("JAX_LOCAL_DEVICE_IDS"):
        return {}
    own = local_devices(environment)
    return {} if own is None else {"local_device_ids": own}


def local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Which of the GPUs that a SLURM task sees are its own, counted among them.

    Returns:
      Their numbers; empty: all that it sees. None if no variable tells which GPUs there are, as on CPUs.

    Raises:
      ValueError: the tasks of a node share GPUs in a number that they don't divide.
    """
    seen = next((environment[name].split(",") for name in VISIBLE if environment.get(name)), None)
    tasks = _tasks_on_node(environment)
    if tasks == 1:
        return []
    if seen is None or tasks is None:
        return None
    if len(seen) == 1 or len(seen) < int(environment.get("SLURM_GPUS_ON_NODE") or 0):
        return []  # SLURM has bound them to this task.
    if len(seen) % tasks:
        raise ValueError(
            f"{tasks} tasks on a node of {len(seen)} GPUs: start one task a GPU (srun --ntasks-per-node={len(seen)}), "
            "or one a node"
        )
    share, place = len(seen) // tasks, int(environment["SLURM_LOCALID"])
    return list(range(place * share, (place + 1) * share))


def _tasks_on_node(environment: Mapping[str, str]) -> int | None:
    """Tasks of the step on this node; SLURM writes `8(x3),4` for three nodes of eight and one of four."""
    counts: list[int] = []
    for part in environment.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            return None
        counts += [int(found[1])] * int(found[2] or 1)
    node = int(environment.get("SLURM_NODEID", "0"))
    return counts[node] if node < len(counts) else None


def _several_by_others(environment: Mapping[str, str]) -> bool:
    """Whether Open MPI started more than one process, or this is one host of several with TPUs."""
    counts = (environment.get("OMPI_COMM_WORLD_SIZE", "1"), environment.get("MEGASCALE_NUM_SLICES", "1"))
    return any(count.isdigit() and int(count) > 1 for count in counts) or "," in environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )
