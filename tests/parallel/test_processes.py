"""Which environment makes how many processes, and two real ones that add up their rows."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mmvideo.parallel.processes import distributed_arguments

PLAIN = {"MMVIDEO_COORDINATOR": "host:1234", "MMVIDEO_PROCESSES": "4"}


def test_one_process_needs_nothing():
    assert distributed_arguments({}) is None
    assert distributed_arguments({"SLURM_NTASKS": "8"}) is None
    assert distributed_arguments({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None


def test_launchers_that_jax_reads_itself():
    assert distributed_arguments({"SLURM_NTASKS": "8", "SLURM_PROCID": "3"}) == {}
    assert distributed_arguments({"OMPI_COMM_WORLD_SIZE": "2"}) == {}
    assert distributed_arguments({"MMVIDEO_COORDINATOR": "auto"}) == {}


def test_plain_variables_and_the_index_of_a_kubernetes_job():
    want = {"coordinator_address": "host:1234", "num_processes": 4, "process_id": 3}
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


WORKER = """
    import jax
    jax.config.update("jax_num_cpu_devices", 2)
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


def test_two_processes_find_each_other():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    root = str(Path(__file__).parents[2])
    shared = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": root,
        "MMVIDEO_COORDINATOR": f"localhost:{port}",
        "MMVIDEO_PROCESSES": "2",
    }
    command = [sys.executable, "-c", textwrap.dedent(WORKER)]
    workers = [
        subprocess.Popen(
            command,
            env=shared | {"MMVIDEO_PROCESS": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        answers = [worker.communicate(timeout=90) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for number, (out, errors) in enumerate(answers):
        assert out.splitlines()[-1].split() == [str(number), "2", "4", "18.0"], errors[-2000:]
