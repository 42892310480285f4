"""Two real processes of two devices train, evaluate and checkpoint as one process does, and hand over both ways."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.experiment.run import run
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.config import Optimizer, Training

ROOT = Path(__file__).parents[2]

LOSSES, GRADIENTS = 1e-6, 1e-5
"""How near two runs of different processes come: sums are in another order. What is summed for a gradient cancels out
in part, which leaves it the larger relative error; 1e-5 is what every mesh must keep (tools/check_meshes.py)."""

TRAIN_AND_EXPORT = """
import sys
from pathlib import Path
from mmvideo.experiment.config import load_experiment
from mmvideo.experiment.weights.export import export
from mmvideo.experiment.run import run
for workdir in sys.argv[2:]:
    if run(load_experiment(sys.argv[1]), workdir) != 0:
        sys.exit("not finished: " + workdir)
    export(workdir, Path(workdir) / "export", dtype="bfloat16")
"""


def small(corpus: Path) -> Experiment:
    """Four steps that use pairs of clips across all rows, with an evaluation and a checkpoint every two."""
    return Experiment(
        name="handed-over",
        input=Input(
            sources=(Source(str(corpus)),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=Text(length=24, begin=True),
            packing=Packing(rows=8, tokens=40, clips=2),
            masking=Masking(video=0.5),
            threads=1,
        ),
        model=Model(depth=1, width=16, heads=2, feed_forward=32, compute="float32", fusion=Fusion("late")),
        objectives={"contrastive": Contrastive(pairs=("video-text",), width=8), "masked": MaskedPatches(audio=0.0)},
        training=Training(
            steps=4,
            optimizer=Optimizer(learning_rate=1e-4, warmup=1),
            log_every=1,
            save_every=2,
            keep=9,
            evaluate_every=2,
            best="losses/masked/video/loss",
            best_mode="min",
            tensorboard=False,
        ),
        evaluation=Evaluation(tasks=("losses",), gallery=0),
    )


def run_in_two(recipe: Path, *workdirs: Path) -> None:
    """Trains in two processes of two devices each, and exports; one workdir after another."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "PYTHONPATH": str(ROOT),
        "MMVIDEO_COORDINATOR": f"localhost:{port}",
        "MMVIDEO_PROCESSES": "2",
    }
    command = [sys.executable, "-c", TRAIN_AND_EXPORT, str(recipe), *map(str, workdirs)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    workers = [subprocess.Popen(command, env=shared | {"MMVIDEO_PROCESS": str(n)}, **streams) for n in range(2)]
    try:
        said = [worker.communicate(timeout=400)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, words in zip(workers, said, strict=True):
        assert worker.returncode == 0, words[-3000:]


def back_at(workdir: Path, step: int, copy: Path) -> Path:
    """A copy of a run as it was at a step."""
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("evals", "export"))
    for later in Checkpoints(copy / "checkpoints").steps():
        if later > step:
            shutil.rmtree(copy / "checkpoints" / str(later))
    return copy


def numbers(workdir: Path) -> dict[int, dict[str, float]]:
    """All losses and counts of every step, of training and evaluation."""
    found: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()):
        told = {name: value for name, value in line.items() if name.split("/")[0] in ("train", "eval", "grad_norm")}
        found.setdefault(line["step"], {}).update(told)
    return found


@pytest.mark.slow(reason="four runs, two of them in two processes")
def test_two_processes_and_one_hand_a_run_over_to_each_other(shapes, tmp_path):
    experiment, recipe = small(shapes), tmp_path / "recipe.json"
    recipe.write_text(to_json(experiment))
    assert run(experiment, tmp_path / "one") == 0
    to_two = back_at(tmp_path / "one", 2, tmp_path / "one-then-two")
    # Starting two processes takes longer than what they do.
    run_in_two(recipe, tmp_path / "two", to_two)
    to_one = back_at(tmp_path / "two", 2, tmp_path / "two-then-one")
    assert run(experiment, to_one) == 0

    wanted = numbers(tmp_path / "one")
    assert sorted(wanted) == [1, 2, 3, 4] and "eval/losses/masked/video/loss" in wanted[4]
    for workdir in (tmp_path / "two", to_one, to_two):
        found = numbers(workdir)
        assert found.keys() == wanted.keys()
        for step, values in wanted.items():
            assert found[step].keys() == values.keys()
            for name, value in values.items():
                near = GRADIENTS if name == "grad_norm" else LOSSES
                np.testing.assert_allclose(found[step][name], value, rtol=near, atol=near, err_msg=f"{step} {name}")
        assert Checkpoints(workdir / "checkpoints").best == Checkpoints(tmp_path / "one" / "checkpoints").best
        exported = Checkpoints(workdir / "export" / "checkpoints")
        if workdir != to_one:
            expected = Checkpoints(workdir / "checkpoints").parameters()
            for name, value in exported.parameters().items():
                np.testing.assert_allclose(value, expected[name], rtol=2**-8, atol=1e-30, err_msg=name)
