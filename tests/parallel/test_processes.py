"""The number of processes for each environment, and two real processes that sum their rows."""

import sys
import textwrap

import pytest

from mmvideo.parallel.processes import distributed_arguments, local_devices

PLAIN = {"MMVIDEO_COORDINATOR": "host:1234", "MMVIDEO_PROCESSES": "4"}

BATCH = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
"""Variables that a batch script sees before it starts a step."""

STEP = BATCH | {
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "1",
}
"""Variables of task 6 of a step of two nodes with four tasks each."""


def test_one_process_needs_nothing():
    assert distributed_arguments({}) is None
    assert distributed_arguments(BATCH) is None
    assert distributed_arguments(STEP | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    assert distributed_arguments({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "1"}) is None


def test_launchers_that_jax_reads_itself():
    assert distributed_arguments(STEP) == {}
    assert distributed_arguments({"OMPI_COMM_WORLD_SIZE": "2"}) == {}
    assert distributed_arguments({"MMVIDEO_COORDINATOR": "auto"}) == {}
    assert distributed_arguments({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}) == {}
    assert distributed_arguments({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}) == {}


@pytest.mark.parametrize(
    ("tasks", "visible", "on_node", "own"),
    [
        ("1(x2)", "0,1,2,3,4,5,6,7", "8", []),  # a task a node: all, where JAX would take the first
        ("4(x2)", "0,1,2,3", "4", [2]),  # a task a GPU, each sees all
        ("4(x2)", "2", "4", []),  # a task a GPU, SLURM shows it its own
        ("4(x2)", "4,5", "8", []),  # two GPUs a task, bound
        ("4(x2)", "0,1,2,3,4,5,6,7", "8", [4, 5]),  # two GPUs a task, each sees all
        ("8,4", "0,1,2,3", "", [2]),  # nodes that differ: the second one counts
    ],
)
def test_the_gpus_of_a_slurm_task(tasks, visible, on_node, own):
    environment = STEP | {"SLURM_STEP_TASKS_PER_NODE": tasks, "CUDA_VISIBLE_DEVICES": visible}
    environment |= {"SLURM_GPUS_ON_NODE": on_node} if on_node else {}
    assert distributed_arguments(environment) == {"local_device_ids": own}
    assert distributed_arguments(environment | {"JAX_LOCAL_DEVICE_IDS": "1"}) == {}, "who names them is obeyed"


def test_gpus_that_tasks_cannot_share_are_refused():
    assert local_devices(STEP) is None, "no GPUs, nothing to share out"
    with pytest.raises(ValueError, match="4 tasks on a node of 6 GPUs: start one task per GPU"):
        local_devices(STEP | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5", "SLURM_GPUS_ON_NODE": "6"})


def test_plain_variables_and_the_index_of_a_kubernetes_job():
    want = {"coordinator_address": "host:1234", "num_processes": 4, "process_id": 3}
    want["cluster_detection_method"] = "deactivate"
    assert distributed_arguments(PLAIN | {"MMVIDEO_PROCESS": "3"}) == want
    assert distributed_arguments(PLAIN | {"JOB_COMPLETION_INDEX": "3"}) == want


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (PLAIN, "set MMVIDEO_PROCESS as well"),
        ({"MMVIDEO_PROCESS": "0"}, "set MMVIDEO_COORDINATOR, MMVIDEO_PROCESSES as well"),
        (PLAIN | {"MMVIDEO_PROCESS": "4"}, "from 0 to MMVIDEO_PROCESSES - 1 = 3"),
        (PLAIN | {"MMVIDEO_PROCESS": "first"}, "'first', but must be a whole number"),
        (PLAIN | {"MMVIDEO_PROCESS": "0", "MMVIDEO_COORDINATOR": "host"}, "host:port"),
    ],
)
def test_variables_that_do_not_fit_are_refused(environment, message):
    with pytest.raises(ValueError, match=message):
        distributed_arguments(environment)


SLURM = """
    import os
    number, port = os.environ.pop("MMVIDEO_PROCESS"), os.environ.pop("MMVIDEO_COORDINATOR").split(":")[1]
    os.environ |= {
        "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": os.environ.pop("MMVIDEO_PROCESSES"),
        "SLURM_PROCID": number, "SLURM_LOCALID": number, "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2",
        "JAX_COORDINATOR_PORT": port,
    }
"""
"""Program that replaces the launcher's variables by those that `srun` would set."""

WORKER = """
    import jax
    import numpy as np
    from mmvideo.parallel.config import Mesh
    from mmvideo.parallel.mesh import make_mesh
    from mmvideo.parallel.processes import initialize
    from mmvideo.parallel.rules import batch_sharding

    number, count = initialize()
    assert initialize() == (number, count), "a second call changes nothing"
    mesh = make_mesh(Mesh(data=2, fsdp=-1))
    rows = np.full((2, 3), 1.0 + number, np.float32)
    whole = jax.make_array_from_process_local_data(batch_sharding(mesh), rows)
    print(number, count, whole.shape[0], float(jax.jit(lambda x: x.sum())(whole)))
"""


@pytest.mark.parametrize("before", ["", SLURM], ids=["plain", "slurm"])
def test_two_processes_find_each_other(launch, before):
    printed = launch([sys.executable, "-c", textwrap.dedent(before) + textwrap.dedent(WORKER)], timeout=120)
    assert [lines[-1].split() for lines in printed] == [[str(number), "2", "4", "18.0"] for number in range(2)]
