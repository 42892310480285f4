"""The command line answers at once and tells mistakes in one line with exit code 2."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest


def mmvideo(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mmvideo.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_help_imports_nothing_heavy_and_is_quick():
    code = (
        "import sys; from mmvideo.cli.main import main; main(['--help']);"
        "print([m for m in ('jax', 'numpy', 'flax', 'av', 'tyro') if m in sys.modules])"
    )
    started = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.rstrip().endswith("[]")
    assert "train" in answer.stdout
    assert time.perf_counter() - started < 30  # the figure is the import list; this only catches a hang


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "configs/quickstart/nothing.py"], "there is no recipe"),
        (["train", "configs/quickstart/shapes.py", "--training.stepss", "3"], "did you mean 'training.steps'"),
        (["train", "configs/quickstart/shapes.py", "--training.steps", "many"], "--training.steps"),
        (["train", "configs/quickstart/shapes.py", "--model.position", "polar"], "rotary"),
        (["train", "configs/quickstart/shapes.py", "--workdir"], "--workdir needs a folder"),
        (["eval", "runs/no-such-run"], "there is no run"),
        (["data", "build", "no/such/folder"], "out"),
        (["data", "show", "samples:none"], "samples"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words):
    answer = mmvideo(*arguments)
    assert answer.returncode == 2, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, answer.stderr
    assert words in lines[0]
