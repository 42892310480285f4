"""Several processes that are asked to stop agree on the step: by SIGTERM or by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mmvideo.training.signals import stop_requests

ROOT = Path(__file__).parents[2]

WORKER = """
    import time
    from mmvideo.parallel.processes import initialize
    from mmvideo.training.signals import stop_requests

    initialize()
    with stop_requests() as asked:
        print("ready", flush=True)
        for step in range(3000):
            time.sleep(0.01)
            if asked(step):
                print(step, flush=True)
                break
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_stop_at_the_same_step(number):
    launcher = [sys.executable, str(ROOT / "tools" / "launch" / "local.py"), "-n", "2", "--devices", "1", "--"]
    process = subprocess.Popen(
        [*launcher, sys.executable, "-c", textwrap.dedent(WORKER)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert {process.stdout.readline() for _ in range(2)} == {"[0] ready\n", "[1] ready\n"}
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    steps = dict(line.split() for line in out.splitlines())
    assert steps.keys() == {"[0]", "[1]"} and steps["[0]"] == steps["[1]"], out
    assert int(steps["[0]"]) < 2999


def test_a_terminal_that_is_closed_asks_for_a_stop():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with stop_requests() as asked:
            assert not asked(1)
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked(2)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_was_started_to_outlive_its_terminal_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As nohup leaves it.
    try:
        with stop_requests() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked(1)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
