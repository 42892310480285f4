"""Launchers: processes that start, hear signals and end together; SLURM and Kubernetes files that fit the code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mmvideo.parallel.processes import distributed_arguments

LAUNCH = Path(__file__).parents[2] / "tools" / "launch"


def local(code: str, *options: str, **more) -> subprocess.Popen:
    """Starts two processes of some Python code, in which `n` is the number of the process."""
    code = "import os, signal, sys, time\nn = int(os.environ['MMVIDEO_PROCESS'])\n" + code
    command = [sys.executable, str(LAUNCH / "local.py"), "-n", "2", *options, "--", sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def test_lines_say_whose_they_are_and_variables_fit():
    code = "print(*(os.environ[k] for k in ('MMVIDEO_COORDINATOR', 'MMVIDEO_PROCESSES', 'JAX_NUM_CPU_DEVICES')))\n"
    out, err = local(code + "print('no end', end='', file=sys.stderr)", "--devices", "3").communicate(timeout=30)
    assert sorted(line[:4] for line in out.splitlines()) == ["[0] ", "[1] "]
    (first, second) = (line[4:].split() for line in out.splitlines())
    assert first == second and first[1:] == ["2", "3"] and first[0].startswith("localhost:")
    assert sorted(err.splitlines()) == ["[0] no end", "[1] no end"]


@pytest.mark.parametrize(
    ("failing", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL)]
)
def test_one_that_fails_ends_the_other_that_would_not_stop(failing, code):
    stubborn = "signal.signal(signal.SIGTERM, lambda *a: print('asked', flush=True))\n"
    rest = f"if n == 1:\n    time.sleep(0.3)\n    {failing}\nwhile True:\n    time.sleep(0.1)"
    started = time.monotonic()
    process = local(stubborn + rest, "--grace", "0.5")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code and "[0] asked" in out
    assert time.monotonic() - started < 15


def test_the_grace_period_is_kept_for_one_that_is_about_to_end():
    process = local("print('begun') if n else time.sleep(1), n and sys.exit(5)\nprint('saved')", "--grace", "20")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 5 and "[0] saved" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_each_process_once(number):
    code = f"heard = []\nsignal.signal({int(number)}, lambda *a: heard.append(1))\nprint('ready')\n"
    process = local(code + "while not heard:\n    time.sleep(0.05)\ntime.sleep(0.3)\nprint('heard', len(heard))")
    ready = [process.stdout.readline() for _ in range(2)]
    assert sorted(ready) == ["[0] ready\n", "[1] ready\n"]
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and sorted(out.splitlines()) == ["[0] heard 1", "[1] heard 1"], err


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_no_process_outlives_a_killed_launcher():
    process = local("print(os.getpid())\ntime.sleep(60)")
    numbers = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(_running(number) for number in numbers):
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.05)


def _running(number: int) -> bool:
    """Whether there is such a process, one that has ended but was not waited for left out."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def slurm(tmp_path):
    """`slurm(code, **variables)` starts train.sbatch where `srun` runs a Python program and `scontrol` takes notes."""
    bin = tmp_path / "bin"
    bin.mkdir()
    srun = 'while [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n'
    for name, text in (("srun", srun), ("scontrol", f'echo "$@" >> {tmp_path}/scontrol\n')):
        (bin / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (bin / name).chmod(0o755)

    def start(code: str, **variables: str) -> subprocess.Popen:
        program = tmp_path / "program"
        program.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{code}\n")
        program.chmod(0o755)
        environment = os.environ | {
            "PATH": f"{bin}:{os.environ['PATH']}",
            "MMVIDEO": str(program),
            "HOME": str(tmp_path),
        }
        return subprocess.Popen(
            ["bash", str(LAUNCH / "train.sbatch"), "recipe.py", "--workdir", "a b"],
            env=environment | {"SLURM_JOB_ID": "77"} | variables,
            stdout=subprocess.PIPE,
            text=True,
        )

    start.notes = lambda: (tmp_path / "scontrol").read_text() if (tmp_path / "scontrol").exists() else ""
    return start


@pytest.mark.parametrize(
    ("code", "returned", "again"),
    [
        ("assert sys.argv[1:] == ['train', 'recipe.py', '--workdir', 'a b']", 0, False),
        ("sys.exit(2)", 2, False),
        ("sys.exit(3)", 3, False),  # stopped by scancel, which this script does not hear
        ("sys.exit(75)", 75, True),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, True),
    ],
)
def test_a_slurm_job_is_queued_again_when_that_helps(slurm, code, returned, again):
    process = slurm(code)
    process.communicate(timeout=30)
    assert process.returncode == returned
    assert slurm.notes() == ("requeue 77\n" if again else "")


def test_a_slurm_job_stops_before_its_limit_and_is_queued_again(slurm):
    saving = "def save(*a):\n    time.sleep(0.5)\n    print('saved', flush=True)\n    sys.exit(3)\n"
    process = slurm(saving + "signal.signal(signal.SIGTERM, save)\nprint('ready', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert out.startswith("saved\n") and process.returncode == 3 and slurm.notes() == "requeue 77\n"


def test_a_slurm_job_is_not_queued_again_for_ever(slurm):
    process = slurm("sys.exit(75)", SLURM_RESTART_COUNT="4", RESTARTS="4")
    process.communicate(timeout=30)
    assert process.returncode == 75 and slurm.notes() == ""


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_the_pods_of_a_jobset_are_the_processes_of_a_run(kind):
    text = (LAUNCH / f"jobset_{kind}.yaml").read_text(encoding="utf-8")
    (replicated,) = yaml.safe_load(text)["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert job["completionMode"] == "Indexed" and job["parallelism"] == job["completions"]
    assert container["command"] == ["mmvideo", "train"] and pod["restartPolicy"] == "Never"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    given = {item["name"]: item.get("value", "mmvideo-nodes-0-0.mmvideo") for item in container["env"]}
    found = {name: value.replace("$(COORDINATOR)", given.get("COORDINATOR", "")) for name, value in given.items()}
    last = distributed_arguments(found | {"JOB_COMPLETION_INDEX": str(job["completions"] - 1)})
    if kind == "tpu":
        assert last == {}
    else:
        assert last["num_processes"] == job["completions"] and last["process_id"] == job["completions"] - 1
        assert last["coordinator_address"] == f"mmvideo-nodes-0-0.mmvideo:{container['ports'][0]['containerPort']}"


@pytest.mark.parametrize("script", ["train.sbatch", "tpu_vm.sh"])
def test_scripts_are_bash_and_say_what_they_need(script):
    subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True)
    asked = subprocess.run(["bash", str(LAUNCH / script)], capture_output=True, text=True)
    assert asked.returncode == 2 and asked.stderr.startswith("usage: ")
