"""`--profile` leaves a trace of some steps with our names, and changes no bit of the run."""

from __future__ import annotations

import gzip
import json

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from training_toy import LONG, ToyBatches, quick, same_bits, toy_train

from mmvideo.cli.main import main


def test_a_trace_holds_the_steps_asked_for_by_our_names(tmp_path, whole_run, capsys):
    # Programs that lie in the cache have the names of the code that compiled them.
    kept = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        state = toy_train(tmp_path, quick(**LONG), ToyBatches(), profile=3, on_progress=None)
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
        compilation_cache.reset_cache()
    assert same_bits(state, whole_run[1])
    assert f"steps 3 to 5 are traced in {tmp_path / 'profile'}" in capsys.readouterr().out
    (trace,) = (tmp_path / "profile" / "plugins" / "profile").glob("*/*.trace.json.gz")
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
    assert sorted(map(int, steps)) == [3, 4, 5]
    assert {"wait", "step", "checkpoint"} <= {event.get("name") for event in events}
    (planes,) = (tmp_path / "profile" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert b"optimizer/" in planes.read_bytes()  # The part of the step that an operation of the devices belongs to.


def test_a_start_that_is_too_short_says_that_nothing_was_traced(copied_run, capsys):
    toy_train(copied_run, quick(**LONG), ToyBatches(), profile=1, on_progress=None)
    assert "nothing was traced: of this start's 0 steps the first 2 are left out" in capsys.readouterr().out
    assert not (copied_run / "profile").exists()


@pytest.mark.parametrize("steps", ["0", "-1", "ten"])
def test_a_number_of_steps_is_one_or_more(steps, capsys):
    assert main(["train", "nothing.py", "--profile", steps]) == 2
    assert f"--profile {steps} must be a number of steps, 1 or more" in capsys.readouterr().err
