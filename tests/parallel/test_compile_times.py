"""The next start shows the time of earlier compilations with its source; nothing is guessed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from mmvideo.parallel.compile_times import FILE, StepProgram, expected, timed

STEP = StepProgram.of({"model": "nano"}, {"rows": 8})

COMPILES = """
import sys
import jax
from pathlib import Path
from mmvideo.parallel.compile_times import StepProgram, expected, programs_folder, timed
from mmvideo.parallel.compilation_cache import enable_compilation_cache

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
enable_compilation_cache()
step = StepProgram.of({"model": "nano"}, {"rows": int(sys.argv[1])})
print(expected(step, programs_folder()))
with timed(step, programs_folder()):
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jax.numpy.ones((8, int(sys.argv[1])))[:, :8]))
"""


def test_nothing_is_told_where_nothing_is_known(tmp_path):
    assert expected(STEP, tmp_path) == "" and expected(STEP, None) == ""
    (tmp_path / FILE).write_text("no JSON")
    assert expected(STEP, tmp_path) == ""


@pytest.mark.parametrize("content", [[], {"programs": 3}, {"programs": {STEP.program: {}}, "models": {}}])
def test_a_file_that_is_no_file_of_ours_tells_nothing_and_is_replaced(content, tmp_path):
    (tmp_path / FILE).write_text(json.dumps(content))
    assert expected(STEP, tmp_path) == ""
    with timed(STEP, tmp_path):
        pass
    assert expected(STEP, tmp_path).startswith("at most about a second")


def test_another_step_of_the_model_tells_how_long_it_may_take(tmp_path):
    day = time.strftime("%Y-%m-%d")
    known = {"programs": {}, "models": {STEP.model: {"seconds": 41.3, "at": day}}}
    (tmp_path / FILE).write_text(json.dumps(known))
    other = StepProgram.of({"model": "nano"}, {"rows": 16})
    assert (
        other != STEP and expected(other, tmp_path) == f"about 41 s, as another step of this model took here on {day}"
    )
    assert expected(StepProgram.of({"model": "base"}, {}), tmp_path) == ""


def test_a_start_that_takes_the_program_from_the_folder_is_told_apart(tmp_path):
    def start(rows: int) -> str:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", COMPILES, str(rows)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert start(8) == ""
    assert start(8).startswith("at most about")
    assert start(8).startswith("about") and start(8).endswith("its program is kept")
    assert "another step of this model" in start(16)


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with timed(STEP, tmp_path / "file"):
        pass
