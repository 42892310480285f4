"""Every recipe in configs/ is built at its published size, survives JSON, and its tiny twin takes a real step."""

from __future__ import annotations

import dataclasses
import functools
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from chosen import ELSEWHERE, LEFT_TO_CORPUS, STEPPED, choices, stepped
from flax import nnx

from mmvideo.cost_model.parameter_counts import count_parameters
from mmvideo.experiment.config import Experiment, from_json, to_json
from mmvideo.experiment.planning.abstract_model import abstract_learner, sketched
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Source
from mmvideo.input.device_put import device_put_batch
from mmvideo.input.pipeline import Batches
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import new_state
from mmvideo.training.step import make_step

ROOT = Path(__file__).parents[2]
EVERY = sorted((ROOT / "configs").rglob("*.py"))
RECIPES = [recipe for recipe in EVERY if not recipe.match(LEFT_TO_CORPUS)]
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)

PUBLISHED = {
    # recipe: millions of parameters of its encoders, as the ViT sizes have them (patches and layers)
    "ast": 86,
    "audiomae": 86,
    "mbt": 2 * 86,
    "videomae": 86,
    "vivit_factorised": 115,
    "vivit_joint": 86,
    "vjepa": 304,
}

FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Programs of these tests run once: compiling them is all that takes time."""


@functools.cache
def defined(recipe: Path) -> dict[str, Experiment]:
    """The experiments of a recipe; the twin of one that defines none."""
    names = {name: value for name, value in runpy.run_path(str(recipe)).items() if isinstance(value, Experiment)}
    return {"tiny": tiny_twin(names["experiment"])} | names


@functools.cache
def parameters(recipe: Path) -> dict[str, int]:
    experiment = defined(recipe)["experiment"]
    sketch = sketched(experiment)
    return count_parameters(abstract_learner(experiment, sketch.spec, experiment.model).params)


@recipes
def test_the_published_size_is_built(recipe):
    assert sum(parameters(recipe).values()) > 0


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.stem in PUBLISHED], ids=lambda path: path.stem)
def test_encoders_have_the_published_parameters(recipe):
    found = parameters(recipe)
    encoders = sum(size for part, size in found.items() if part.endswith("embedder") or part == "trunk")
    assert encoders / 1e6 == pytest.approx(PUBLISHED[recipe.stem], rel=0.02)


def test_the_table_tells_the_parameters():
    """configs/README.md is made by tools/recipe_table.py, and a recipe may have changed since."""
    lines = (ROOT / "configs" / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| [")]
    told = {row[0].split("]")[0].strip("["): row[3] for row in cells}
    own = [recipe for recipe in RECIPES if "tiny" in runpy.run_path(str(recipe))]
    assert told == {recipe.stem: f"{sum(parameters(recipe).values()) / 1e6:,.1f} M" for recipe in own}


@recipes
def test_json_gives_it_back(recipe):
    for experiment in defined(recipe).values():
        assert from_json(to_json(experiment)) == experiment


@recipes
def test_a_header_says_what_it_costs_and_where_its_numbers_come_from(recipe):
    header = recipe.read_text(encoding="utf-8").split('"""')[1]
    wanted = ["COMMAND"]
    if recipe.parent.name in ("pretrain", "finetune") and "tiny" in recipe.read_text(encoding="utf-8"):
        wanted += ["TINY", "COST", "EXPECTS", "SOURCE", "DIFFERS"]
    assert [word for word in wanted if word not in header] == []


def test_every_choice_of_a_recipe_is_taken():
    """By a twin that takes a step in all tests, or by a test that is named."""
    found = {recipe.stem: set(choices(defined(recipe)["tiny"])) for recipe in RECIPES}
    assert len(found) == len(RECIPES) and found.keys() >= STEPPED.keys()
    taken = set().union(*(found[name] for name in STEPPED))
    left = {choice: name for name, every in found.items() for choice in every - taken}
    assert {choice: name for choice, name in left.items() if not choice.startswith(tuple(ELSEWHERE))} == {}
    assert [begin for begin in ELSEWHERE if not any(choice.startswith(begin) for choice in left)] == []
    assert [test for test in ELSEWHERE.values() if not (ROOT / "tests" / test).is_file()] == []


@pytest.mark.slow(reason="compiles a step of each recipe")
@stepped([recipe for recipe in RECIPES if recipe.parent.name != "finetune"])
def test_the_tiny_twin_takes_a_step(recipe, shapes):
    tiny = defined(recipe)["tiny"]
    sources = (Source(str(shapes)),)
    batches = Batches(dataclasses.replace(tiny.input, sources=sources, threads=1))
    mesh = make_mesh(Mesh(data=1), jax.devices()[:1])
    optimizer = make_optimizer(tiny.training.optimizer, tiny.training.steps)

    def learner() -> Learner:
        return Learner(tiny.model, batches.spec, tiny.objectives, rngs=nnx.Rngs(0))

    def create():
        _, params, rest = nnx.split(learner(), nnx.Param, ...)
        return new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(rest), optimizer, tiny.training)

    with jax.set_mesh(mesh):
        stream = device_put_batch(batches.batch(0), mesh)
        state = jax.jit(create).lower().compile(FAST)()
        before = jax.tree.map(np.array, state.params)
        graphdef = nnx.graphdef(nnx.eval_shape(learner))
        step = make_step(graphdef, tiny.training).lower(state, stream).compile(FAST)
        after, metrics = step(state, stream)
    assert metrics["skipped"] == 0 and np.isfinite(metrics["train/loss"])
    assert metrics["clips"] > 0 and metrics["grad_norm"] > 0
    for name in tiny.objectives:
        assert np.isfinite(metrics[f"train/{name}/loss"]), name
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), before, after.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.5
