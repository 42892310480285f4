"""Many processes: they find each other by the environment that their launcher gives them.

| launcher | what it sets | what happens |
|---|---|---|
| any | `MMVIDEO_COORDINATOR` (host:port of process 0), `MMVIDEO_PROCESSES`, `MMVIDEO_PROCESS` | these are used |
| Kubernetes, an indexed job | the first two by hand; `JOB_COMPLETION_INDEX` is the process | these are used |
| SLURM, Open MPI | `SLURM_NTASKS` and `SLURM_PROCID`, `OMPI_COMM_WORLD_SIZE` | JAX reads the rest itself |
| any other that JAX knows, as TPU VMs | `MMVIDEO_COORDINATOR=auto` | JAX reads all itself |
| none | nothing | one process, nothing to set up |
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax

COORDINATOR, PROCESSES, PROCESS = "MMVIDEO_COORDINATOR", "MMVIDEO_PROCESSES", "MMVIDEO_PROCESS"


def initialize(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Joins the processes of this run; must come before anything else asks JAX for devices.

    Args:
      environment: `os.environ` if None.

    Returns:
      Number of this process, and how many there are.

    Raises:
      ValueError: variables that are incomplete, no numbers, or don't fit each other.
      RuntimeError: from JAX, where the others cannot be reached in time.
    """
    environment = os.environ if environment is None else environment
    if not jax.distributed.is_initialized():
        arguments = distributed_arguments(environment)
        if arguments is not None:
            jax.distributed.initialize(**arguments)
    return jax.process_index(), jax.process_count()


def distributed_arguments(environment: Mapping[str, str]) -> dict[str, str | int] | None:
    """Arguments of `jax.distributed.initialize`; empty where JAX finds them, None for a single process.

    Raises:
      ValueError: as `initialize`.
    """
    coordinator = environment.get(COORDINATOR)
    if coordinator == "auto":
        return {}
    if coordinator or PROCESSES in environment or PROCESS in environment:
        return _plain_arguments(environment)
    return {} if _several_by_launcher(environment) else None


def _plain_arguments(environment: Mapping[str, str]) -> dict[str, str | int]:
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
    return {"coordinator_address": given[COORDINATOR], "num_processes": count, "process_id": number}


def _whole_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, but must be a whole number") from None


def _several_by_launcher(environment: Mapping[str, str]) -> bool:
    """Whether SLURM or Open MPI started more than one process; a shell within an allocation is one."""
    slurm = environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))
    tasks = slurm if "SLURM_PROCID" in environment else "1"
    return any(count.isdigit() and int(count) > 1 for count in (tasks, environment.get("OMPI_COMM_WORLD_SIZE", "1")))
