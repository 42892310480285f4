"""Every recipe in configs/finetune/ goes on from a pretraining recipe; its twin trains, evaluates and reports."""

from __future__ import annotations

import dataclasses
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mmvideo.datasets.build import build
from mmvideo.datasets.shapes import ScenesConfig, ShapesConfig, write_scenes
from mmvideo.experiment import initial
from mmvideo.experiment.comparison import Old, compare
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.plan import Abstract, abstract_learner, sketched
from mmvideo.experiment.run import run
from mmvideo.experiment.taken import Taken
from mmvideo.experiment.twin import CORPUS, DENSE, SCENES
from mmvideo.input.config import Source

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs" / "finetune").glob("*.py"))
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)

WRITTEN = {
    # What a recipe's evaluation must have told, by the name of its file in evals/.
    "classification": ("top1", "mAP"),
    "regression": ("mae",),
    "retrieval": ("r@1",),
    "captioning": ("cider_d",),
    "dense_captioning": ("soda_rouge_l",),
    "moments": ("r1@0.5",),
}


def defined(recipe: Path) -> dict[str, Experiment]:
    return {name: value for name, value in runpy.run_path(str(recipe)).items() if isinstance(value, Experiment)}


def abstract(experiment: Experiment) -> Abstract:
    return abstract_learner(experiment, sketched(experiment).spec, experiment.model)


def pretrained(experiment: Experiment) -> Path:
    """The recipe whose run an experiment starts from."""
    return ROOT / "configs" / "pretrain" / f"{Path(experiment.training.init_from).name.removesuffix('_ssv2')}.py"


def taken(experiment: Experiment) -> Taken:
    """What an experiment would take of its pretraining recipe's run, parameters being but shapes."""
    before, here = abstract(defined(pretrained(experiment))["experiment"]), abstract(experiment)
    given, wanted = (flatten_dict(one.params, sep=".") for one in (before, here))
    arrays = {name: np.broadcast_to(np.float32(0), leaf.shape) for name, leaf in given.items()}
    fresh = {name: np.broadcast_to(np.float32(0), leaf.shape) for name, leaf in wanted.items()}
    found, how = initial.fit(arrays, fresh, before.spec, here.spec, experiment.training)
    old = Old("the checkpoint", {name: leaf.shape for name, leaf in given.items()}, found, how, before.spec)
    return compare(old, here.portion, here.spec, experiment.training)


@recipes
def test_its_trunk_is_that_of_the_pretraining_recipe(recipe):
    result = taken(defined(recipe)["experiment"])
    assert result.surprises == []
    trunk = {name for name in (*result.loaded, *result.resized) if name.startswith("trunk.")}
    anew = {
        name for name, (_, why) in result.fresh.items() if name.startswith("trunk.") and why != "named by init_fresh"
    }
    assert len(trunk) > 10 and all("lora" in name for name in anew), "all else of the trunk is taken"


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


@pytest.fixture(scope="module")
def corpora(shapes, tmp_path_factory) -> dict[str, Path]:
    """The built corpora of twins by the path that twins have: shapes, and long videos, 4 to train on and 2 to test."""
    folder = tmp_path_factory.mktemp("long")
    config = ScenesConfig(scene=ShapesConfig(size=32, longest=4.0), shortest=8.0, longest=14.0)
    write_scenes(folder, config, splits={"train": 4, "test": 2}, processes=1)
    options = {"processes": 1, "progress": False}
    build(folder, folder / "scenes", tokenizer_vocabulary=128, **options)
    build(folder / "dense.jsonl", folder / "dense", tokenizer_vocabulary=200, time_tokens=100, **options)
    return {CORPUS: shapes, SCENES: folder / "scenes", DENSE: folder / "dense"}


@pytest.mark.slow
@recipes
def test_the_tiny_twin_trains_evaluates_and_reports(recipe, corpora, tmp_path):
    tiny = defined(recipe)["tiny"]
    sources = tuple(Source(str(corpora[source.path]), source.split) for source in tiny.input.sources)
    average = None if tiny.training.average_from is None else 1
    small = dataclasses.replace(
        tiny,
        input=dataclasses.replace(tiny.input, sources=sources),
        # CPUs have no bfloat16, and programs that make up for it take half as long again to compile.
        model=dataclasses.replace(tiny.model, compute="float32"),
        training=dataclasses.replace(tiny.training, steps=2, average_from=average),
    )
    assert run(small, tmp_path) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [math.isfinite(line["train/loss"]) for line in lines if "train/loss" in line] == [True, True]
    told = sorted(path.stem for path in (tmp_path / "evals").glob("*.json"))
    assert told == sorted(tiny.evaluation.tasks)
    for task in told:
        metrics = json.loads((tmp_path / "evals" / f"{task}.json").read_text())["metrics"]
        assert np.isfinite([value for value in metrics.values() if value is not None]).all()
        assert any(name.rpartition("/")[2] in WRITTEN[task] for name in metrics), sorted(metrics)
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")[:200].lower()
