"""A process that hangs is named within the set time, with its stack, and ends so that it can be started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mmvideo.training.logging.watchdog import HANG

SECONDS = 8.0

HANGING_RUN = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from training_toy import ToyBatches, quick, toy_train

    class Hanging(ToyBatches):
        def iterate(self, start, stop):
            yield from super().iterate(start, 2)
            wait_for_a_disk_that_is_gone()

    def wait_for_a_disk_that_is_gone():
        Path(sys.argv[2], "since").write_text(str(time.time()))
        time.sleep(600)

    toy_train(Path(sys.argv[2]), quick(steps=5, save_every=2, hang_seconds=float(sys.argv[3])), Hanging())
"""


@pytest.mark.slow(reason="waits for a process that hangs")
def test_a_run_that_hangs_is_named_in_time_and_ended(tmp_path):
    folder = str(Path(__file__).parents[1])
    with _start(HANGING_RUN, folder, str(tmp_path), str(SECONDS)) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == HANG == 75, said
    hung = time.time() - float((tmp_path / "since").read_text())
    assert SECONDS - 0.5 < hung < 1.2 * SECONDS + 4
    line = f"process 0 of 1 on {socket.gethostname()} (pid {process.pid}) hangs waiting for data, at step 2: nothing"
    assert f"ends with exit code 75, as training.hang_seconds {SECONDS:g} says" in said
    report = (tmp_path / "hangs" / "process-0.txt").read_text()
    for text in (said, report):
        assert line in text
        assert "in wait_for_a_disk_that_is_gone" in text
        assert text.count("Thread 0x") >= 3, "the stack of every thread, not of the one that hangs alone"


ALIVE = """
    import os, signal, subprocess, sys, time
    from mmvideo.training.logging.watchdog import Watchdog

    with Watchdog(1.0) as watchdog:
        for _ in range(15):
            time.sleep(0.15)
            watchdog.beat()
        subprocess.Popen(f"sleep 2; kill -CONT {os.getpid()}", shell=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.3)
    with Watchdog(None), Watchdog(0.0):
        time.sleep(0.3)
    time.sleep(1.2)
    print("alive")
"""


def test_what_moves_or_was_stopped_or_is_over_is_left_alone():
    with _start(ALIVE) as process:
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0 and out == "alive\n" and "hangs" not in said, said


IN_A_COLLECTIVE = """
    import os, signal, sys, time
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from mmvideo.parallel.processes import initialize
    from mmvideo.training.logging import watchdog
    watchdog.PATIENCE = 1.5

    number, _ = initialize()
    rows = NamedSharding(Mesh(np.asarray(jax.devices()), ("all",)), PartitionSpec("all"))
    total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(rows.mesh, PartitionSpec()))
    numbers = jax.make_array_from_process_local_data(rows, np.ones(4, np.float32))
    assert float(total(numbers)) == 8.0

    def never_asks_again():
        if sys.argv[2] == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(600)

    with watchdog.Watchdog(3.0, sys.argv[1]) as watch:
        watch.step = 7
        watch.beat("wait" if number else "step")
        if number:
            never_asks_again()
        float(total(numbers))
"""


@pytest.mark.parametrize("how", ["asleep", "stopped"])
def test_of_two_processes_the_one_is_named_that_the_other_waits_for(tmp_path, how):
    """The first is blocked within XLA, in a sum over both, and says so all the same."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = {"MMVIDEO_COORDINATOR": f"localhost:{port}", "MMVIDEO_PROCESSES": "2"}
    workers = [
        _start(IN_A_COLLECTIVE, str(tmp_path), how, MMVIDEO_PROCESS=str(number), **shared) for number in range(2)
    ]
    try:
        said = workers[0].communicate(timeout=120)[1]
        assert workers[0].returncode == HANG, said
        assert "process 0 of 2" in said and "hangs running a step, at step 7" in said
        if how == "stopped":
            assert "no report of process 1 yet" in said
            return
        assert f"the others wait for process 1; see {tmp_path / 'hangs' / 'process-1.txt'}" in said
        other = workers[1].communicate(timeout=120)[1]
        assert workers[1].returncode == HANG, other
        assert "process 1 of 2" in other and "hangs waiting for data" in other and "in never_asks_again" in other
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _start(script: str, *arguments: str, **environment: str) -> subprocess.Popen:
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"} | environment
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
