"""The tiny twins of fine-tuning recipes that compare words with clips, or write them, train, evaluate and report.

They are apart from the others in test_finetune.py so that two processes share the work.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from mmvideo.experiment.config import Experiment

ROOT = Path(__file__).parents[2]


def tiny(recipe: Path) -> Experiment:
    return runpy.run_path(str(recipe))["tiny"]


def speaks(recipe: Path) -> bool:
    """Whether words are compared with clips, or written."""
    return any(one.kind in ("contrastive", "captioning") for one in tiny(recipe).objectives.values())


RECIPES = [recipe for recipe in sorted((ROOT / "configs" / "finetune").glob("*.py")) if speaks(recipe)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_tiny_twin_trains_evaluates_and_reports(recipe, finish_twin, tmp_path):
    finish_twin(tiny(recipe), tmp_path)
