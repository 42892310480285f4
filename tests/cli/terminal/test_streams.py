"""Any encoding of the terminal will do; a reader that goes away ends no work whose product is files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

CLI = [sys.executable, "-m", "mmvideo.cli.main"]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "build", "--help"]])
def test_help_is_shown_where_stdout_is_not_utf8(arguments):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    answer = subprocess.run([*CLI, *arguments], env=environment, capture_output=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.decode("ascii")


def test_errors_are_told_where_stderr_is_not_utf8():
    environment = os.environ | {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"}
    answer = subprocess.run([*CLI, "train", "→.py"], env=environment, capture_output=True, timeout=60)
    assert answer.returncode == 2
    assert b"there is no recipe ?.py" in answer.stderr


def test_a_file_name_that_is_no_utf8_can_be_told_of():
    answer = subprocess.run([*CLI, "train", b"\xff.py"], capture_output=True, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr.startswith(b"mmvideo train: there is no recipe") and b"Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["data", "build", "--help"]])
def test_a_reader_that_goes_away_is_quiet(arguments):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([*CLI, *arguments], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode in (0, 141)


WRITES = """
import sys
from mmvideo.cli.terminal.streams import outlive_readers

outlive_readers()
outlive_readers()  # A second call changes nothing.
for number in range(3):
    print(number, flush=True)
    print("beside", file=sys.stderr, flush=True)
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("both", [False, True])
def test_work_goes_on_where_nobody_reads(unbuffered, both, tmp_path):
    """Python's buffers differ with PYTHONUNBUFFERED; `both` is `2>&1 | head`."""
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", WRITES, str(tmp_path / "product")]
    process = subprocess.Popen(command, env=environment, stdout=write, stderr=write if both else subprocess.PIPE)
    os.close(write)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and (tmp_path / "product").read_text() == "done"
    if not both:
        told = [line for line in said.decode().splitlines() if line != "beside"]
        assert told == ["mmvideo: stdout can't be written (Broken pipe); the work goes on without it"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, which is a full disk")
def test_work_goes_on_where_the_log_is_on_a_full_disk(tmp_path):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", WRITES, str(tmp_path / "product")]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0 and (tmp_path / "product").read_text() == "done"
    assert done.stderr.count("No space left on device") == 1


RECIPE = """
import dataclasses
from pathlib import Path
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import load_experiment

twin = load_experiment(Path({recipe!r}))
sources = (dataclasses.replace(twin.input.sources[0], path={corpus!r}),)
experiment = dataclasses.replace(
    twin,
    input=dataclasses.replace(twin.input, sources=sources),
    training=dataclasses.replace(twin.training, steps=3, log_every=1, save_every=100, tensorboard=False),
    evaluation=Evaluation(tasks=()),
)
"""


@pytest.mark.slow(reason="trains by the real command in a process of its own, which compiles")
def test_training_ends_with_its_checkpoint_and_report_where_head_reads_one_line(shapes, tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.format(recipe=f"{ROOT / 'configs' / 'pretrain' / 'videomae.py'}:tiny", corpus=str(shapes)))
    command = " ".join(shlex.quote(word) for word in [*CLI, "train", str(recipe), "--workdir", str(tmp_path / "run")])
    piped = ["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"]
    done = subprocess.run(piped, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"reading {shapes} (train)\n"
    assert done.stderr.count("stdout can't be written (Broken pipe); the work goes on without it") == 1
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir() and (tmp_path / "run" / "report.html").is_file()
