"""Planned bytes against XLA's analysis on an H100, recorded in `experiments/benchmarks/`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import jax
import pytest
from flax import nnx

from mmvideo.cost_model.memory import tree_bytes
from mmvideo.cost_model.peak_memory import peak_bytes
from mmvideo.objectives.learner import Learner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def step():
    """`tools/bench/step.py`, which defines what was measured."""
    spec = importlib.util.spec_from_file_location("step", ROOT / "tools" / "bench" / "step.py")
    module = sys.modules["step"] = importlib.util.module_from_spec(spec)  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("size", "remat"), [("B", "none"), ("L", "none"), ("L", "dots")])
def test_planned_bytes_are_those_of_the_h100(step, size, remat):
    """Arguments and scratch memory of the compiled step; `dots` as in the code before it saved less on its own."""
    lines = (ROOT / "experiments" / "benchmarks" / "step_h100.jsonl").read_text().splitlines()
    known = {"size": size, "remat": remat, "task": "trimodal", "rows": "whole", "attention": "tokamax"}
    kept = "kept" if remat == "dots" else "computed again"
    (found,) = (
        line
        for line in map(json.loads, lines)
        if known.items() <= line.items() and line["layers"] == "scanned" and line["elementwise"] == kept
    )
    case = step.Case(size, "trimodal", "whole", "chunked", remat, "scanned")
    spec = step.spec(False)
    model = dataclasses.replace(step.model(case), chunk=128)
    stream = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((found["clips"], *leaf.shape[1:]), leaf.dtype), step.make_batch(case, 1, spec)
    )

    def build() -> Learner:
        return Learner(model, spec, step.objectives(case), rngs=nnx.Rngs(0))

    graphdef, params, rest = nnx.split(nnx.eval_shape(build), nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def loss(params, rest, stream):
        return nnx.merge(graphdef, params, rest).losses(stream)[0]

    # AdamW holds two numbers beside each parameter.
    total = 3 * tree_bytes(params) + tree_bytes(stream) + peak_bytes(jax.value_and_grad(loss), params, rest, stream)
    assert total / 2**30 == pytest.approx(found["gib"], rel=0.05)
