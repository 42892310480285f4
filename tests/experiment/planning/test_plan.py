"""The plan of a run is what the run then is: tokens, parameters and shapes of the real pipeline and learner."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict

from mmvideo.cli.main import main
from mmvideo.cost_model.memory import tree_bytes
from mmvideo.experiment.config import Experiment, from_json, to_json
from mmvideo.experiment.planning.abstract_batch import abstract_stream, batch_outline
from mmvideo.experiment.planning.abstract_model import abstract_learner
from mmvideo.experiment.planning.plan import Plan, as_dict
from mmvideo.experiment.planning.plan import plan as make_plan
from mmvideo.input.pipeline import Batches
from mmvideo.objectives.learner import Learner
from mmvideo.training.config import Tuning


@functools.cache
def _planned(text: str, devices: int | None) -> Plan:
    return make_plan(from_json(text), devices)


def plan(experiment: Experiment, devices: int | None = None) -> Plan:
    """A plan, made once: tracing takes seconds."""
    return _planned(to_json(experiment), devices)


@pytest.fixture
def batches(tiny) -> Batches:
    return Batches(tiny.input)


def test_the_outline_is_the_pipelines_own(tiny, batches):
    """Spec and row of the corpus, whose longest clips fill the views."""
    sketch = batch_outline(tiny.input)
    assert dataclasses.replace(sketch.spec.text, mask_id=0, answer_id=0) == dataclasses.replace(
        batches.spec.text, mask_id=0, answer_id=0, end_id=sketch.spec.text.end_id
    )
    assert (sketch.spec.video, sketch.spec.audio) == (batches.spec.video, batches.spec.audio)
    ours = abstract_stream(dataclasses.replace(batches.shape, kinds=(), targets={}), 8)
    stream = batches.batch(0)
    real = dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, labels={}, targets={}))
    shapes = [(leaf.shape, np.dtype(leaf.dtype)) for leaf in jax.tree.leaves(ours)]
    assert shapes == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(real)]
    assert jax.tree.structure(abstract_stream(sketch.shape, 8)) == jax.tree.structure(real)


def test_no_clip_is_larger_than_the_largest(tiny, batches):
    needs = batches._planner.needs(0)[1]
    assert (needs.max(axis=0)[:7] <= np.array(list(batch_outline(tiny.input).need.values()))[:7]).all()


def test_parameters_are_those_of_the_learner(tiny, batches):
    built = nnx.eval_shape(lambda: Learner(tiny.model, batches.spec, tiny.objectives, rngs=nnx.Rngs(0)))
    real = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(built, nnx.Param)))
    found = plan(tiny)
    assert sum(found.parameters.values()) == real
    assert found.memory.parameters == found.memory.gradients == 4 * real
    learner = abstract_learner(tiny, batches.spec, tiny.model)
    assert (
        tree_bytes(learner.params) == 4 * real
        and flatten_dict(learner.axes).keys() == flatten_dict(learner.params).keys()
    )


def test_devices_share_the_bytes(tiny):
    mesh = dataclasses.replace(tiny.mesh, fsdp=2)
    one, four = plan(tiny), plan(dataclasses.replace(tiny, mesh=mesh), devices=4)
    assert (one.devices, plan(dataclasses.replace(tiny, mesh=mesh)).devices) == (1, 2)
    assert one.memory.activations / 5 < four.memory.activations < one.memory.activations / 3
    assert four.memory.batch == one.memory.batch // 4
    assert one.memory.gradients / 2 < four.memory.gradients < one.memory.gradients
    with pytest.raises(ValueError, match="does not divide"):
        plan(dataclasses.replace(tiny, mesh=mesh), devices=3)


def test_what_is_frozen_needs_no_gradient_and_no_moments(tiny):
    """Of the heads alone, as the learner's names tell; and less work than training everything."""
    whole = plan(tiny)
    heads = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, ema=None, tune=Tuning("heads")))
    found = plan(heads)
    outside = ("video embedder", "audio embedder", "text embedder", "positions", "trunk")
    assert found.trained == sum(size for part, size in found.parameters.items() if part not in outside)
    assert whole.trained == sum(whole.parameters.values()) and found.parameters == whole.parameters
    assert found.memory.gradients == 4 * found.trained
    assert found.memory.optimizer < whole.memory.optimizer * 1.01 * found.trained / whole.trained
    assert found.run.flops < whole.run.flops and found.memory.activations < whole.memory.activations


def test_remat_lowers_the_bytes_and_leaves_the_flops(tiny):
    lean = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, remat="full"))
    plain, again = plan(tiny), plan(lean)
    assert again.memory.activations < plain.memory.activations
    assert (again.run, again.forward, again.encoder) == (plain.run, plain.forward, plain.encoder)


def test_the_command_prints_tables_and_json(tiny, tmp_path, capsys):
    (tmp_path / "config.json").write_text(to_json(tiny))
    assert main(["plan", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    assert "tokens of the largest clip" in page and "trunk" in page and "the run" in page
    assert main(["plan", str(tmp_path), "--json", "--training.steps", "7"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"]["total_flops"] == 7 * found["run"]["flops"]
    expected = as_dict(plan(tiny))
    assert {**found, "run": None} == {**json.loads(json.dumps(expected)), "run": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--devices", "none"], "--devices must be a number"),
        (["--input.packing.tokens", "20"], "raise packing.tokens"),
        (["--model.sizes", "B"], "did you mean 'model.size'"),
        (["--model.heads", "5"], "not a multiple of model.heads"),
        (["--model.fusion.layer", "9"], "media_layer <= layer <= 2"),
    ],
)
def test_a_bad_config_is_one_line_and_exit_code_2(tiny, tmp_path, capsys, arguments, words):
    (tmp_path / "config.json").write_text(to_json(tiny))
    assert main(["plan", str(tmp_path), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
