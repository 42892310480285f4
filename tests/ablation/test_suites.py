"""Every suite in experiments/: all its cells build, its tables speak of what there is, and a toy cell takes a step."""

from __future__ import annotations

import dataclasses
import functools
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from mmvideo.ablation.cells import ACCELERATOR, SHARED, TIERS, Cell, cells_of, load_suite, tier_of
from mmvideo.ablation.suite import Study, Suite, fits, labels_of, points
from mmvideo.experiment.config import Experiment, from_json, load_experiment, to_json
from mmvideo.experiment.planning.abstract_model import abstract_learner, sketched
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Source
from mmvideo.input.device_put import device_put_batch
from mmvideo.input.pipeline import Batches
from mmvideo.model.config import model_dims
from mmvideo.objectives import Captioning, Classification, Contrastive
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import new_state
from mmvideo.training.step import make_step

ROOT = Path(__file__).parents[2]
SUITES = sorted(path.parent for path in (ROOT / "experiments").glob("*/suite.py"))
suites = pytest.mark.parametrize("folder", SUITES, ids=lambda path: path.name)
tiers = pytest.mark.parametrize("name", (*TIERS, ACCELERATOR))

ISSUED = {
    "vatt", "mbt", "videomae", "audiomae", "cav_mae", "siglip", "coca", "valor", "vast", "vivit", "merlot_reserve",
    "packing", "modality_dropout",
}  # fmt: skip
LONGEST = 40
"""Minutes on two cores that a toy tier may be stated to take."""

STEPPED = {
    "vast": "three modalities, captions, matching, subsets of modalities",
    "cav_mae": "masked patches of picture and sound, contrastive pairs",
    "modality_dropout": "modalities dropped, classes of all that is shown",
    "videomae": "frames hidden, pictures alone",
    "merlot_reserve": "spans of words and sound",
}
"""Suites whose toy cell takes a step in all tests, and what it shows: each choice that leads through other code, as
tests/configs/chosen.py tells them, is made by one of these cells or by a recipe that takes a step."""

FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.cache
def suite_in(folder: Path) -> Suite:
    return load_suite(folder)


@functools.cache
def cells(folder: Path, name: str) -> list[Cell]:
    return cells_of(tier_of(suite_in(folder), name))


def studies(folder: Path) -> list[tuple[str, Study]]:
    return [(name, study) for name in TIERS for study in tier_of(suite_in(folder), name).studies]


def test_all_suites_are_there():
    assert {path.name for path in SUITES} >= ISSUED


@suites
def test_a_suite_says_what_it_is(folder):
    suite, header = suite_in(folder), (folder / "suite.py").read_text(encoding="utf-8").split('"""')[1]
    assert suite.name == folder.name and suite.title and suite.fixed
    wanted = ["COMMAND", f"experiments/{folder.name} --tier toy", "COST", "EXPECTS", "SOURCE", "FIXED"]
    assert [word for word in wanted if word not in header] == []
    assert 0 < suite.toy.minutes <= LONGEST and len(suite.toy.seeds) >= 3 and suite.toy.corpora
    assert suite.paper.needs and len(suite.paper.seeds) == 1
    different = len({cell.place for cell in cells(folder, "toy")}) // len(suite.toy.seeds)
    assert different <= 12 and f"({different} cells, {len(suite.toy.seeds)} seeds)" in header.replace("\n        ", "")


def built(experiment: Experiment, seen: set[str]) -> None:
    """Makes the learner abstractly, once for equal settings of it; what differs in masks or weights is alike."""
    sketch = sketched(experiment)
    assert sketch.clips >= 1
    make_optimizer(experiment.training.optimizer, experiment.training.steps)
    key = repr((sketch.spec, experiment.model, experiment.objectives, experiment.training.tune))
    if key not in seen:
        abstract_learner(experiment, sketch.spec, experiment.model)
        seen.add(key)


@pytest.mark.slow(reason="builds every cell of every suite")
@suites
@tiers
def test_every_cell_builds(folder, name):
    seen: set[str] = set()
    different = {cell.place: cell.experiment for cell in cells(folder, name)}
    for experiment in [*different.values(), *tier_of(suite_in(folder), name).before.values()]:
        built(experiment, seen)
        assert from_json(to_json(experiment)) == experiment


@suites
def test_cells_of_the_accelerator_are_those_of_the_toy_made_larger(folder):
    """By the same factors, so that what two cells of the toy have in common, theirs have too."""
    corpora = {corpus.name: corpus for corpus in suite_in(folder).toy.corpora}
    small, large = cells(folder, "toy"), cells(folder, ACCELERATOR)
    assert [(cell.study, cell.labels, cell.seed, cell.place) for cell in small] == [
        (cell.study, cell.labels, cell.seed, cell.place) for cell in large
    ]
    for toy, cell in ((a.experiment, b.experiment) for a, b in zip(small, large, strict=True)):
        assert model_dims(cell.model).width == 8 * model_dims(toy.model).width and cell.model.compute == "bfloat16"
        assert model_dims(cell.model).depth == model_dims(toy.model).depth
        seen = [one.input.packing.rows * one.training.steps for one in (toy, cell)]
        assert seen[1] == 40 * seen[0] and cell.training.save_every == 10 * toy.training.save_every
        assert cell.training.optimizer.warmup == 10 * toy.training.optimizer.warmup
        assert (cell.input.packing.tokens, cell.objectives) == (toy.input.packing.tokens, toy.objectives)
        own = {(one.path, other.path) for one, other in zip(toy.input.sources, cell.input.sources, strict=True)}
        assert all(there == f"{path}-large" for path, there in own)
    for corpus in tier_of(suite_in(folder), ACCELERATOR).corpora:
        small_one = corpora[corpus.name.removesuffix("-large")]
        assert corpus == dataclasses.replace(small_one, name=corpus.name, train=20 * small_one.train)


@suites
@tiers
def test_what_cells_share_is_there(folder, name):
    tier = tier_of(suite_in(folder), name)
    begin = [cell.experiment.training.init_from or "" for cell in cells(folder, name)]
    asked = {start.removeprefix(SHARED) for start in begin if start.startswith(SHARED)}
    assert asked <= set(tier.before)
    # Each of the runs before costs as much as a cell: none is made for nothing.
    assert set(tier.before) <= asked


@suites
@pytest.mark.parametrize("name", ["toy", ACCELERATOR])
def test_generated_cells_read_the_corpora_of_the_tier(folder, name):
    tier = tier_of(suite_in(folder), name)
    paths = {source.path for cell in cells(folder, name) for source in cell.experiment.input.sources}
    assert paths == {f"corpora/ablations/{corpus.name}" for corpus in tier.corpora}


@suites
def test_tables_speak_of_cells_and_columns_that_are_there(folder):
    claimed: set[tuple[str, str]] = set()
    for name, study in studies(folder):
        told = [labels_of(study, point) for point in points(study)]
        columns = {metric.name for metric in study.metrics}
        assert told and columns and len(columns) == len(study.metrics), (name, study.name)
        assert all(isinstance(label, str) for labels in told for label in labels.values())
        for claim in study.claims:
            better, worse = ([labels for labels in told if fits(side, labels)] for side in (claim.better, claim.worse))
            assert better and worse and not any(labels in worse for labels in better), (name, study.name, claim.text)
            assert claim.metric in columns, (name, study.name, claim.text)
            assert claim.source and (claim.mark == "E") == claim.source.startswith("ours")
            claimed.add((name, claim.text))
        for row in study.published:
            axes = {axis.name: {choice.label for choice in axis.choices} for axis in study.axes}
            assert set(row.where) <= set(axes), (name, study.name, row)
            if name == "paper":
                assert any(fits(row.where, labels) for labels in told), (study.name, row)
    assert all((name, text) in claimed for name in TIERS for text in tier_of(suite_in(folder), name).findings)


def answers(experiment: Experiment, evaluation: str, key: str) -> bool:
    """Whether a run writes a metric, by what its objectives and its evaluation are."""
    task, _, shown = evaluation.partition(".")
    wanted, objectives = experiment.evaluation, experiment.objectives
    if wanted.tasks is not None and task not in wanted.tasks or shown and shown not in wanted.subsets:
        return False
    first, *rest = key.split("/")
    if task == "classification":
        return isinstance(objectives.get(first), Classification) and rest[0] in ("top1", "mAP")
    if task == "captioning":
        return any(isinstance(one, Captioning) for one in objectives.values())
    if task == "losses":
        return wanted.losses and first in objectives and rest[0] == "accuracy"
    there = {name for name in ("video", "audio", "text") if getattr(experiment.input, name) is not None}
    if task == "probes":
        return first in wanted.probes and set(rest[0].split("+")) <= there and rest[1] in ("linear", "knn")
    direction, _, space = first.partition("@")
    contrastive = {name: one for name, one in objectives.items() if isinstance(one, Contrastive)}
    spaces = {name: set("-".join(one.pairs).split("-")) for name, one in contrastive.items()}
    main = next((sides for sides in spaces.values() if "text" in sides), next(iter(spaces.values()), set()))
    sides = spaces.get(space, set()) if space else main
    return task == "retrieval" and wanted.retrieval and set(direction.split("_to_")) <= sides


@suites
@tiers
def test_every_column_is_measured(folder, name):
    for study in tier_of(suite_in(folder), name).studies:
        own = [cell.experiment for cell in cells(folder, name) if cell.study == study.name]
        for metric in study.metrics:
            able = sum(answers(experiment, metric.evaluation, metric.key) for experiment in own)
            assert able > 0, (study.name, metric.name)
        told = [cell for cell in cells(folder, name) if cell.study == study.name]
        keys = {metric.name: (metric.evaluation, metric.key) for metric in study.metrics}
        for claim in study.claims:
            for cell in told:
                if fits(claim.better, cell.labels) or fits(claim.worse, cell.labels):
                    assert answers(cell.experiment, *keys[claim.metric]), (cell.title, claim.text)


def farthest(folder: Path) -> Experiment:
    """The last toy cell of the first study, which is farther from the base than the first."""
    study = suite_in(folder).toy.studies[0].name
    return [cell for cell in cells(folder, "toy") if cell.study == study][-1].experiment


def test_every_choice_of_a_toy_cell_is_taken(chosen):
    found = {folder.name: set(chosen.choices(farthest(folder))) for folder in SUITES}
    taken = set().union(*(found[name] for name in STEPPED))
    for recipe in sorted((ROOT / "configs").rglob("*.py")):
        if recipe.stem in chosen.STEPPED:
            taken |= set(chosen.choices(runpy.run_path(str(recipe)).get("tiny") or tiny_twin(load_experiment(recipe))))
    left = {choice: name for name, every in found.items() for choice in every - taken}
    assert {choice: name for choice, name in left.items() if not choice.startswith(tuple(chosen.ELSEWHERE))} == {}


# The test above tells that the cells of STEPPED, and recipes, cover those of nightly runs.
@pytest.mark.slow(reason="compiles a step of a cell")
@pytest.mark.parametrize(
    "folder",
    [pytest.param(f, id=f.name, marks=() if f.name in STEPPED else pytest.mark.nightly) for f in SUITES],
)
def test_a_toy_cell_takes_a_step(folder, shapes):
    cell = farthest(folder)
    packing = dataclasses.replace(cell.input.packing, rows=8)
    config = dataclasses.replace(cell.input, sources=(Source(str(shapes)),), packing=packing)
    batches = Batches(config)
    rates = dataclasses.replace(cell.training.optimizer, warmup=0)
    training = dataclasses.replace(cell.training, steps=2, optimizer=rates)
    optimizer = make_optimizer(training.optimizer, training.steps)

    def learner() -> Learner:
        return Learner(cell.model, batches.spec, cell.objectives, rngs=nnx.Rngs(0))

    def create():
        _, params, rest = nnx.split(learner(), nnx.Param, ...)
        return new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(rest), optimizer, training)

    mesh = make_mesh(Mesh(data=1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        stream = device_put_batch(batches.batch(0), mesh)
        state = jax.jit(create).lower().compile(FAST)()
        before = jax.tree.map(np.array, state.params)
        step = make_step(nnx.graphdef(nnx.eval_shape(learner)), training).lower(state, stream).compile(FAST)
        after, metrics = step(state, stream)
    assert metrics["skipped"] == 0 and np.isfinite(metrics["train/loss"])
    assert metrics["clips"] > 0 and metrics["grad_norm"] > 0
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), before, after.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.5
