"""A recipe that trains on a tiny corpus of sounding shapes in seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mmvideo.experiment.config import Experiment, load_experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tiny(shapes) -> Experiment:
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
        model=dataclasses.replace(recipe.model, width=32, heads=2, feed_forward=64),
        training=training,
        evaluation=dataclasses.replace(recipe.evaluation, probes=("visual",), gallery=1),
    )
