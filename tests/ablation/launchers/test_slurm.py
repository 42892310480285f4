"""Jobs of SLURM: what they ask for, that what is shown is what is submitted, and how a run goes on in another job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmvideo.ablation.cells import cells_of, load_suite
from mmvideo.ablation.launchers.slurm import _End, job
from mmvideo.ablation.schedule import runs_of, write_down
from mmvideo.ablation.worker import state_of
from mmvideo.cost_model.devices import DEVICES
from mmvideo.experiment.config import ConfigError
from mmvideo.parallel.processes import local_devices

ROOT = Path(__file__).parents[3]
H100 = DEVICES["h100"]
HOSTS = ("nodes", "ntasks_per_node", "gpus_per_node", "cpus_per_task")


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Not in this process: submitit takes hold of its streams."""
    given = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"} | environment
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "device, devices, hosts", [(H100, 1, (1, 1, 1, 12)), (H100, 16, (2, 8, 8, 12)), (H100, 12, (2, 6, 6, 12))]
)
def test_a_job_has_a_task_a_gpu(device, devices, hosts):
    asked = job(device, devices, 1.0, {})
    assert tuple(asked[name] for name in HOSTS) == hosts
    # As the tasks of its second host find them.
    count, tasks = asked["nodes"], asked["ntasks_per_node"]
    environment = {
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(asked["gpus_per_node"]))),
        "SLURM_STEP_TASKS_PER_NODE": f"{tasks}(x{count})" if count > 1 else str(tasks),
        "SLURM_NODEID": str(count - 1),
        "SLURM_GPUS_ON_NODE": str(asked["gpus_per_node"]),
    }
    own = [local_devices(environment | {"SLURM_LOCALID": str(place)}) for place in range(tasks)]
    assert own == ([[]] if tasks == 1 else [[place] for place in range(tasks)])


def test_a_job_asks_for_the_planned_time_and_never_for_too_long():
    assert job(H100, 8, 2.0, {})["time"] == 240 and job(H100, 8, 0.1, {})["time"] == 90
    assert job(H100, 8, 1000.0, {})["time"] == 48 * 60 and job(None, 1, None, {})["time"] == 240
    assert "gpus_per_node" not in job(None, 1, None, {})
    assert job(H100, 8, 2.0, {})["signal_delay_s"] == 300 and job(H100, 8, 2.0, {"time": 4})["signal_delay_s"] == 120
    given = job(H100, 8, 2.0, {"time": 30, "nodes": 4, "signal_delay_s": 60})
    assert (given["time"], given["nodes"], given["signal_delay_s"], given["ntasks_per_node"]) == (30, 4, 60, 8)


@pytest.mark.parametrize("name, devices, words", [("h100", 9, "don't fill 2 hosts of 8"), ("v5p", 8, "take jobset")])
def test_devices_that_make_no_job_are_refused(name, devices, words):
    with pytest.raises(ConfigError, match=words):
        job(DEVICES[name], devices, 1.0, {})


def test_what_is_shown_is_what_is_submitted(tmp_path):
    """By an sbatch that keeps what it is given."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, line in {"srun": "", "sbatch": f"cp $1 {tmp_path}/submitted; echo Submitted batch job 7"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    found = python(
        f"""
        import json
        from pathlib import Path
        from mmvideo.ablation.launchers.slurm import Slurm, job, named_as_sbatch, script
        from mmvideo.experiment.config import ConfigError
        from mmvideo.cost_model.devices import DEVICES
        given = named_as_sbatch({{"slurm_partition": "gpu", "mem_gb": 64, "qos": "high", "timeout_min": 90}})
        asked = job(DEVICES["h100"], 16, 5.0, given)
        folder = Path({str(tmp_path)!r})
        slurm = Slurm(folder / "submitit", lambda place: asked)
        slurm.start(folder, "a_place")
        try:
            named_as_sbatch({{"partitoin": "gpu"}})
        except ConfigError as error:
            near = str(error)
        print("FOUND", json.dumps([script(folder / "submitit", asked, "a_place"), near]))
        """,
        PATH=f"{tools}:{os.environ['PATH']}",
    )
    assert found.returncode == 0, found.stderr[-2000:]
    shown, near = json.loads(found.stdout.split("FOUND ")[1])
    assert shown == (tmp_path / "submitted").read_text() and "do you mean 'partition'" in near
    wanted = "partition=gpu nodes=2 ntasks-per-node=8 gpus-per-node=8 cpus-per-task=12 time=90 mem=64GB qos=high"
    for flag in [*wanted.split(), "signal=USR2@300", "requeue", "job-name=a_place"]:
        assert f"#SBATCH --{flag}\n" in shown
    assert "export SRUN_CPUS_PER_TASK" in shown and "submitit.core._submit" in shown


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """Which signals came to those who listened before."""
    came: list[str] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(signal.Signals(number).name))
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_end_of_a_job_asks_the_run_to_stop_once_and_then_queues_it_again(heard):
    end = _End(left=60.0)
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert end.heard and heard == ["SIGTERM"]
    end.close()
    with pytest.raises(SystemExit):
        end.queue_again()
    assert heard == ["SIGTERM", "SIGUSR2"], "submitit's own handler queues the job"


def test_a_run_that_does_not_stop_in_time_is_queued_again_from_where_it_is(heard):
    end = _End(left=0.1)
    os.kill(os.getpid(), signal.SIGUSR2)
    end._late.join(10.0)
    assert heard == ["SIGTERM", "SIGUSR2"]


@pytest.mark.slow(reason="five processes start")
def test_a_run_whose_time_is_up_goes_on_in_the_job_that_is_queued_again(write_suite, tmp_path):
    """SLURM's signal comes while it trains; submitit's own controller starts the job again."""
    tier, folder = load_suite(write_suite(steps=60)).toy, tmp_path / "run"
    write_down(folder, runs_of(folder, cells_of(tier), tier.before))
    found = python(
        f"""
        import os, signal, time
        from pathlib import Path
        import submitit
        from mmvideo.ablation.launchers.slurm import Work
        folder = Path({str(folder)!r})
        executor = submitit.LocalExecutor(folder / "submitit", max_num_timeout=3)
        executor.update_parameters(timeout_min=5)
        job = executor.submit(Work(str(folder), "fusion_0_s0"))
        lines = folder / "cells/fusion_0_s0/metrics.jsonl"
        while not (lines.is_file() and len(lines.read_text().splitlines()) > 2):
            assert not job.done(), job.exception()
            time.sleep(0.05)
        task = Path(f"/proc/{{job.job_id}}/task/{{job.job_id}}/children").read_text().split()[0]
        os.kill(int(task), signal.SIGUSR2)
        print("GAVE", job.result())
        """
    )
    assert found.returncode == 0 and "GAVE 0" in found.stdout, found.stderr[-2000:]
    ledger = (folder / "cells/fusion_0_s0/ledger.jsonl").read_text().splitlines()
    assert sum("devices" in json.loads(line) for line in ledger) == 2
    assert state_of(folder, "fusion_0_s0").status == "done"
    lines = [json.loads(line) for line in (folder / "cells/fusion_0_s0/metrics.jsonl").open()]
    trained = [line["step"] for line in lines if "examples_per_second" in line]
    assert trained == list(range(1, 61)), "it went on from where it was stopped, with a checkpoint of that very step"
