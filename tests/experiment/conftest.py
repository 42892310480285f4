"""A recipe that trains on a tiny corpus of sounding shapes in seconds, and a run of it that many tests look at."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from mmvideo.experiment.config import Experiment, load_experiment
from mmvideo.experiment.run import run
from mmvideo.model.config import Fusion

ROOT = Path(__file__).parents[2]


def smaller(shapes: Path) -> Experiment:
    """The quickstart's recipe with a tiny model, four steps, and everything that it does."""
    recipe = load_experiment(ROOT / "configs" / "quickstart" / "shapes.py")
    source = dataclasses.replace(recipe.input.sources[0], path=str(shapes))
    packing = dataclasses.replace(recipe.input.packing, rows=8)
    video = dataclasses.replace(recipe.input.video, size=32)
    training = dataclasses.replace(
        recipe.training,
        steps=4,
        log_every=1,
        save_every=2,
        tensorboard=False,
        optimizer=dataclasses.replace(recipe.training.optimizer, warmup=1),
    )
    return dataclasses.replace(
        recipe,
        input=dataclasses.replace(recipe.input, sources=(source,), packing=packing, video=video, threads=2),
        model=dataclasses.replace(
            recipe.model, depth=2, width=32, heads=2, feed_forward=64, fusion=Fusion("mid", layer=1)
        ),
        training=training,
        evaluation=dataclasses.replace(recipe.evaluation, probes=("visual",), gallery=1),
    )


@pytest.fixture
def tiny(shapes) -> Experiment:
    return smaller(shapes)


@pytest.fixture(scope="session")
def finished(shapes, shared_folder) -> Path:
    """A finished run of `tiny`, trained once for all test processes. Only for looking at."""
    made = shared_folder / "finished"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            begun = made.with_suffix(f".{os.getpid()}")
            assert run(smaller(shapes), begun) == 0
            begun.rename(made)
    return made


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of that run, to write into."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))
