"""A tiny corpus of sounding shapes, made once, and a recipe that trains on it in seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mmvideo.experiment.config import Experiment, load_experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """A built corpus: 40 clips to train on, 16 to test."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder / "clips", ShapesConfig(size=32), splits={"train": 40, "test": 16}, processes=1)
    build(folder / "clips", folder / "corpus", tokenizer_vocabulary=128, processes=1, progress=False)
    return folder / "corpus"


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
