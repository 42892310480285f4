"""What benchmarks for GPUs reckon without one."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvideo.cost_model.prices import Line
from mmvideo.experiment.planning.priced import Priced

BENCH = Path(__file__).parents[2] / "tools" / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Loads a benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCH))

    def load(name: str):
        spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
        module = sys.modules[f"bench_{name}"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_narrow_spans_are_three_parts_that_see_themselves(bench):
    attention = bench("attention")
    shape = attention.Shape(2, 2128, 16, 64)
    spans = attention.spans_of("narrow", shape)
    assert spans.shape == (2, 2128, 2)
    assert (
        spans[0, [0, 1567, 1568, 2079, 2080, 2127]].tolist()
        == [[0, 1568]] * 2 + [[1568, 2080]] * 2 + [[2080, 2128]] * 2
    )
    assert (attention.spans_of("full", shape) == [0, 2128]).all()
    pairs = np.diff(spans[0], axis=-1).sum()
    assert pairs == 1568**2 + 512**2 + 48**2
    assert shape.flops == 4 * 2 * 2128**2 * 1024


def test_every_size_that_is_tried_divides_what_keys_are_filled_up_to(bench):
    attention = bench("attention")
    tried = [*attention.tried("forward"), *attention.tried("backward")]
    assert len(tried) == 24 + 16 and all(128 % sizes["block_kv"] == 0 for sizes in tried)


def test_prices_of_two_depths_tell_a_third(bench):
    """A part that all layers have, and one that the model has once."""
    hlo = bench("hlo")

    def made(depth: int) -> Priced:
        lines = (Line("products", 0.001 * depth, 10 * depth, 100.0 * depth, 1.0), Line("optimiser", 0.5, 7, 0.0, 2.0))
        return Priced("h100", "unrolled", 8, 0.0, 0.0, lines, (), {}, 1000 * depth, 10 + depth, 1.0)

    found = hlo.stretched(made(3), made(6), (3, 6, 24))
    assert found.seconds == pytest.approx(0.024 + 0.5)
    assert [line.kernels for line in found.lines] == [240, 7] and (found.arguments, found.scratch) == (24_000, 34)
    table = hlo.table("L", [dataclasses.replace(found, layers="scanned")])
    assert "measured before, scanned: 146.8 ms" in table


def test_attention_is_refused_where_there_is_no_hopper_gpu():
    ran = subprocess.run([sys.executable, str(BENCH / "attention.py")], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2 and "needs a Hopper GPU" in ran.stderr
