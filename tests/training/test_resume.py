"""A stopped and resumed run ends with the bits of an uninterrupted one; its records have no seam."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
import training_toy
from training_toy import LONG, ToyBatches, quick, same_bits, toy_mesh, toy_train

from mmvideo.records.lines import read_lines
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.nan_guard import NonFiniteError
from mmvideo.training.workdir import WorkdirError


def stop_at(step):
    """Sends this very process a SIGTERM when the line of a step is out."""

    def on_progress(row):
        if row["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_progress


@pytest.mark.parametrize("accumulate", [1, 2])
def test_sigterm_and_resume_give_the_same_bits(tmp_path, accumulate):
    config = quick(**LONG, optimizer={"accumulate": accumulate})
    whole = toy_train(tmp_path / "whole", config, ToyBatches())
    half = toy_train(tmp_path / "half", config, ToyBatches(), on_progress=stop_at(2))
    assert int(half.step) == 3, "the step at hand was finished, no other begun"
    assert Checkpoints(tmp_path / "half" / "checkpoints").latest == 3
    again = toy_train(tmp_path / "half", config, ToyBatches())
    assert int(again.step) == 6 and same_bits(whole, again)
    numbers = [{k: v for k, v in line.items() if k.startswith("train/")} for line in _lines(tmp_path / "half")]
    assert numbers == [{k: v for k, v in line.items() if k.startswith("train/")} for line in _lines(tmp_path / "whole")]


def test_a_longer_run_is_a_continued_one(tmp_path):
    settings = {**LONG, "optimizer": {"schedule": "constant"}}
    whole = toy_train(tmp_path / "whole", quick(**settings), ToyBatches())
    toy_train(tmp_path / "half", quick(**{**settings, "steps": 3}), ToyBatches())
    again = toy_train(tmp_path / "half", quick(**settings), ToyBatches())
    assert same_bits(whole, again)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["training"]["steps"] == 6


@pytest.mark.slow(reason="starts processes that compile, and stops them")
def test_a_process_stopped_from_outside_resumes(tmp_path):
    """The same with a real process: SIGTERM, a clean exit that says how to go on, and then the same bits."""
    command = [sys.executable, training_toy.__file__, str(tmp_path / "run"), "--steps", "100000"]
    with _start(command) as process:
        _wait_for(tmp_path / "run" / "metrics.jsonl", process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert "run the same command to resume" in out and "step 1/100000" in out
    stopped = Checkpoints(tmp_path / "run" / "checkpoints").latest
    config = quick(steps=100000, ema=0.9)
    limit = stopped + 2
    resumed = toy_train(tmp_path / "run", config, ToyBatches(), on_progress=stop_at(limit))
    whole = toy_train(tmp_path / "whole", config, ToyBatches(), on_progress=stop_at(limit))
    assert int(resumed.step) == int(whole.step) == limit + 1
    assert same_bits(resumed, whole)


@pytest.mark.slow(reason="starts processes that compile, and stops them")
def test_a_killed_process_resumes_from_its_last_checkpoint(tmp_path):
    command = [sys.executable, training_toy.__file__, str(tmp_path / "run"), "--steps", "6", "--save-every", "2"]
    with _start([*command, "--kill-at", "5"]) as process:
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    with _start(command) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and f"resuming {tmp_path / 'run'} at step" in out, out
    assert [line["step"] for line in _lines(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    whole = toy_train(tmp_path / "whole", quick(steps=6, save_every=2, ema=0.9), ToyBatches())
    plan = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), whole)
    assert same_bits(Checkpoints(tmp_path / "run" / "checkpoints").restore(plan), whole)


def test_a_finished_run_has_nothing_to_do(copied_run, whole_run):
    again = toy_train(copied_run, quick(**LONG), ToyBatches())
    assert same_bits(again, whole_run[1])


def test_lines_past_the_resumed_step_are_dropped(copied_run):
    metrics = copied_run / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 7, "train/loss": 1.0}\n{"step": 8, "train/lo')
    toy_train(copied_run, quick(**{**LONG, "steps": 8}), ToyBatches())
    steps = [line["step"] for line in map(json.loads, metrics.read_text().splitlines())]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    seconds = [line["seconds"] for line in _lines(copied_run)]
    assert seconds == sorted(seconds)


def test_a_line_tells_what_the_contract_says(whole_run):
    line = _lines(whole_run[0])[-1]
    named = {"step", "seconds", "train/loss", "train/value/loss", "train/label/loss", "examples_per_second"}
    assert named | {"tokens_per_second", "padding", "learning_rate", "grad_norm", "skipped_steps"} <= line.keys()
    assert line["padding"] == 0.25 and line["step"] == 6
    assert line["train/loss"] == pytest.approx(line["train/value/loss"] + line["train/label/loss"], rel=1e-5)


def test_bad_steps_are_skipped_and_counted(tmp_path):
    state = toy_train(tmp_path, quick(steps=5, patience=2), ToyBatches(bad=(1, 3)))
    assert int(state.step) == 5 and int(state.skipped) == 2
    assert [line["skipped_steps"] for line in _lines(tmp_path)] == [0, 1, 1, 2, 2]
    assert _lines(tmp_path)[1]["train/loss"] is None
    assert [line["to_step"] for line in read_lines(tmp_path / "ledger.jsonl") if line.get("skipped") == 1] == [2, 4]


def test_bad_steps_in_a_row_stop_the_run_also_across_a_resume(tmp_path):
    batches = ToyBatches(half_bad=(2, 3, 4, 5))
    config = quick(steps=8, patience=3)
    stopped = toy_train(tmp_path, config, batches, on_progress=stop_at(3))
    assert int(stopped.step) == 4
    with pytest.raises(NonFiniteError, match=r"step 5: the loss of label is not finite, 3 steps in a row"):
        toy_train(tmp_path, config, batches)


def test_a_workdir_of_another_run_is_refused(copied_run):
    config = quick(**{**LONG, "ema": 0.5, "steps": 4})
    with pytest.raises(WorkdirError, match=r"training\.ema \(0\.9 there, 0\.5 here\); training\.steps \(6 there, 4"):
        toy_train(copied_run, config, ToyBatches())
    same_but_logging = dataclasses.replace(quick(**LONG), log_every=2, save_every=3, patience=9)
    toy_train(copied_run, same_but_logging, ToyBatches())


def test_the_ledger_adds_up_to_the_time_the_run_took(tmp_path):
    began = time.perf_counter()
    toy_train(tmp_path, quick(**LONG), ToyBatches())
    took = time.perf_counter() - began
    start, *lines = read_lines(tmp_path / "ledger.jsonl")
    assert start["devices"] == jax.device_count() and start["kind"] == "cpu" and "lost" not in start
    booked = sum(line[name] for line in lines for name in ("init", "compile", "wait", "step", "checkpoint", "other"))
    assert booked == pytest.approx(sum(line["wall"] for line in lines))
    assert booked == pytest.approx(took, abs=0.5)
    assert lines[0]["init"] > 0 and lines[0]["compile"] > 0 and sum(line["checkpoint"] for line in lines) > 0


def test_evaluation_comes_at_its_steps_and_at_the_end(tmp_path):
    measured = {}

    def evaluate(learner, step):
        measured[step] = float(learner.losses(jax.device_put(ToyBatches().batch(0)))[0])
        return {"probe/loss": measured[step]}

    toy_train(tmp_path, quick(**LONG, evaluate_every=2), ToyBatches(), evaluate=evaluate)
    assert list(measured) == [2, 4, 6]
    lines = read_lines(tmp_path / "metrics.jsonl")
    shown = {line["step"]: line["eval/probe/loss"] for line in lines if "eval/probe/loss" in line}
    assert shown == measured


def test_unreadable_clips_are_counted_and_listed(tmp_path):
    batches = ToyBatches(skipped=[("clip 7", "no such file")])
    toy_train(tmp_path, quick(steps=3), batches)
    assert _lines(tmp_path)[-1]["unreadable_clips"] == 1
    assert read_lines(tmp_path / "skipped.jsonl") == [{"id": "clip 7", "reason": "no such file"}]


def test_events_are_written_for_tensorboard(tmp_path):
    toy_train(tmp_path, quick(steps=3, tensorboard=True), ToyBatches())
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 1 and b"train/value/loss" in files[0].read_bytes()


@pytest.mark.slow(reason="starts processes that compile, and stops them")
def test_a_mesh_of_eight_devices_trains_as_one_and_hands_over(tmp_path):
    """A run on 2 x 2 x 2 devices has the losses of one device, and one device resumes it."""
    config = quick(**{**LONG, "steps": 4})
    mesh = toy_mesh(2, 2, 2)
    spread = toy_train(tmp_path / "spread", config, ToyBatches(), mesh)
    assert spread.params["inner"]["kernel"].sharding.spec == jax.sharding.PartitionSpec("fsdp", "tensor")
    assert spread.opt_state[1].mu["inner"]["kernel"].sharding == spread.params["inner"]["kernel"].sharding
    toy_train(tmp_path / "single", config, ToyBatches())
    for left, right in zip(_lines(tmp_path / "spread"), _lines(tmp_path / "single"), strict=True):
        assert left["train/loss"] == pytest.approx(right["train/loss"], rel=1e-5)
    restored = toy_train(tmp_path / "spread", config, ToyBatches())
    assert same_bits(jax.device_get(restored.params), jax.device_get(spread.params))


def _lines(workdir: Path) -> list[dict]:
    return [line for line in read_lines(workdir / "metrics.jsonl") if "train/loss" in line]


def _start(command: list[str]) -> subprocess.Popen:
    root = Path(__file__).parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
