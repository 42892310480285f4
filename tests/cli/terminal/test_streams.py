"""Any encoding of the terminal will do, and a reader that goes away is no error."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
