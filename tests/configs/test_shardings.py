"""How the parameters of each pretraining recipe lie on a mesh is as it was reviewed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mmvideo.experiment.config import load_experiment
from mmvideo.experiment.planning.plan import parameter_layout
from mmvideo.parallel.config import Mesh

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "pretrain").glob("*.py"))
GOLDEN = Path(__file__).parent / "golden" / "shardings"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_layout_is_the_golden_one(recipe):
    """Rewrite the files with `python tools/golden/shardings.py`, and read what changed."""
    experiment = dataclasses.replace(load_experiment(recipe), mesh=Mesh(data=2, fsdp=2, tensor=2))
    golden = (GOLDEN / f"{recipe.stem}.txt").read_text(encoding="utf-8")
    assert parameter_layout(experiment).splitlines() == golden.splitlines()


def test_every_file_has_its_recipe():
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == [recipe.stem for recipe in RECIPES]
