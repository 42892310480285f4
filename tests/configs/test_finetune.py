"""Every recipe in configs/finetune/ goes on from a pretraining recipe; its twin trains, evaluates and reports."""

from __future__ import annotations

import functools
import runpy
from pathlib import Path

import numpy as np
import pytest
from chosen import LEFT_TO_CORPUS, stepped
from flax.traverse_util import flatten_dict

from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_model import AbstractModel, abstract_learner, sketched
from mmvideo.experiment.weights import warm_start
from mmvideo.experiment.weights.parameter_diff import CheckpointParams, compare_parameters
from mmvideo.experiment.weights.parameter_report import ParamReport

ROOT = Path(__file__).parents[2]
EVERY = sorted((ROOT / "configs" / "finetune").glob("*.py"))
RECIPES = [recipe for recipe in EVERY if not recipe.match(LEFT_TO_CORPUS)]
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


@functools.cache
def defined(recipe: Path) -> dict[str, Experiment]:
    return {name: value for name, value in runpy.run_path(str(recipe)).items() if isinstance(value, Experiment)}


def abstract(experiment: Experiment) -> AbstractModel:
    return abstract_learner(experiment, sketched(experiment).spec, experiment.model)


@functools.cache
def abstract_recipe(recipe: Path) -> AbstractModel:
    """Of a pretraining recipe, from which several others go on."""
    return abstract(defined(recipe)["experiment"])


def pretrained(experiment: Experiment) -> Path:
    """The recipe whose run an experiment starts from."""
    return ROOT / "configs" / "pretrain" / f"{Path(experiment.training.init_from).name.removesuffix('_ssv2')}.py"


def taken(experiment: Experiment) -> ParamReport:
    """What an experiment would take of its pretraining recipe's run, parameters being but shapes."""
    before, here = abstract_recipe(pretrained(experiment)), abstract(experiment)
    given, wanted = (flatten_dict(one.params, sep=".") for one in (before, here))
    arrays = {name: np.broadcast_to(np.float32(0), leaf.shape) for name, leaf in given.items()}
    fresh = {name: np.broadcast_to(np.float32(0), leaf.shape) for name, leaf in wanted.items()}
    found, how = warm_start.fit_parameters(arrays, fresh, before.spec, here.spec, experiment.training)
    old = CheckpointParams(
        "the checkpoint", {name: leaf.shape for name, leaf in given.items()}, found, how, before.spec
    )
    return compare_parameters(old, here.portion, here.spec, experiment.training)


@recipes
def test_its_trunk_is_that_of_the_pretraining_recipe(recipe):
    result = taken(defined(recipe)["experiment"])
    assert result.surprises == []
    backbone = {name for name in (*result.loaded, *result.resized) if name.startswith("trunk.")}
    anew = {
        name for name, (_, why) in result.fresh.items() if name.startswith("trunk.") and why != "named by init_fresh"
    }
    assert len(backbone) > 10 and all("lora" in name for name in anew), "all else of the trunk is taken"


@recipes
def test_words_are_those_of_the_pretraining_recipe(recipe):
    experiment = defined(recipe)["experiment"]
    if experiment.input.text is None or "trunk.embed.text.*" in experiment.training.init_fresh:
        return
    before = defined(pretrained(experiment))["experiment"]
    last = Path(experiment.training.init_from) / "checkpoints" / str(before.training.steps)
    assert experiment.input.text.tokenizer == str(last / "record" / "tokenizer.model")
    assert experiment.input.text.vocabulary == before.input.text.vocabulary
    assert experiment.input.text.begin == before.input.text.begin


@recipes
def test_a_header_says_how_it_is_measured_and_beside_what(recipe):
    header = recipe.read_text(encoding="utf-8").split('"""')[1]
    wanted = ("TINY", "COST", "DATA", "PROTOCOL", "PUBLISHED", "EXPECTS", "SOURCE", "DIFFERS")
    assert [word for word in wanted if word not in header] == []


@pytest.mark.slow(reason="a run with its evaluation and report")
@stepped(RECIPES)
def test_the_tiny_twin_trains_evaluates_and_reports(recipe, finish_twin, tmp_path):
    finish_twin(defined(recipe)["tiny"], tmp_path)
