"""Costs told from few traces are those of plans made one by one."""

from __future__ import annotations

import dataclasses

import pytest
from handmade import BASE

from mmvideo.ablation.cost import Planner, cost_of
from mmvideo.ablation.fields import override
from mmvideo.cost_model.devices import DEVICES
from mmvideo.experiment.planning.device_plan import plan_devices
from mmvideo.experiment.planning.plan import plan
from mmvideo.input.config import Masking, Packing, Source, Video

H100 = DEVICES["h100"]
TIGHT = dataclasses.replace(H100, memory=2**20)
"""So small that not one row fits."""
NARROW = dataclasses.replace(H100, memory=6_670_000)
"""So small that not all rows fit."""

SMALL = override(
    BASE,
    {
        "input.sources": (Source("nowhere"),),
        "input.video": Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
        "input.audio": None,
        "input.text": None,
        "input.masking": Masking(video=0.5),
        "input.packing": Packing(8, 32, 2),
        "model.depth": 1,
        "model.width": 16,
        "model.fusion.layer": 0,
        "training.optimizer.warmup": 1,
    },
)
CELLS = {
    "base": SMALL,
    "weight": override(SMALL, {"objectives.patches.weight": 0.3, "training.steps": 7}),
    "rows": override(SMALL, {"input.packing.rows": 2 * SMALL.input.packing.rows}),
    "muon": override(SMALL, {"training.optimizer.name": "muon", "training.ema": 0.99}),
}


@pytest.fixture(scope="module")
def planner() -> Planner:
    """One for all cells: it must not take one for another."""
    return Planner(TIGHT, 2)


@pytest.mark.parametrize("name", ["base", "rows", "muon"])
def test_a_cost_is_that_of_the_launch(planner, name):
    experiment = CELLS[name]
    found, launch = planner.cost(experiment), plan_devices(experiment, TIGHT, 2)
    memory, run = launch.plan.memory, launch.plan.run
    assert (found.bytes, found.batch) == (memory.total, 2 * memory.batch)
    # Both devices have all of it, and it is written once.
    assert found.checkpoint == memory.parameters + memory.optimizer + memory.average
    assert (found.steps, found.flops) == (run.steps, run.steps * run.flops)
    assert found.parameters == sum(launch.plan.parameters.values())
    assert (found.rows, found.grad_accum_steps, found.seconds) == (launch.rows, launch.grad_accum_steps, launch.seconds)
    assert found.hours == pytest.approx(run.steps * launch.seconds / 3600)


def test_a_checkpoint_holds_as_much_whatever_the_mesh():
    split = override(SMALL, {"mesh.data": 1, "mesh.fsdp": -1})
    whole, shared = Planner(H100, 4).cost(SMALL), Planner(H100, 4).cost(split)
    assert shared.checkpoint == whole.checkpoint and shared.bytes < whole.bytes
    assert shared.batch == whole.batch


def test_a_run_gets_as_many_devices_as_its_batch_needs():
    """The work is the same, the time a part of it."""
    few, grown = Planner(NARROW, 1).cost(SMALL), Planner(NARROW, 1, most=64).cost(SMALL)
    assert few.devices == 1 and few.grad_accum_steps > 1
    assert grown.devices == 2 ** (few.grad_accum_steps - 1).bit_length() and grown.grad_accum_steps == 1
    assert grown.rows * grown.devices == few.rows and grown.flops == few.flops
    assert grown.hours * grown.devices == pytest.approx(few.hours)


@pytest.mark.parametrize("most, devices", [(1, 1), (3, 2)])
def test_a_run_gets_no_more_devices_than_there_are(most, devices):
    cost = Planner(NARROW, 1, most).cost(SMALL)
    assert cost.devices == devices and cost.grad_accum_steps > 1


def test_where_not_one_row_fits_on_any_number_of_devices_it_gets_no_more():
    cost = Planner(TIGHT, 1, most=64).cost(SMALL)
    assert (cost.devices, cost.rows, cost.grad_accum_steps) == (1, 8, 0)


def test_a_split_state_that_is_too_large_for_one_device_gets_more():
    """Parameters and optimiser shared out, even one that has no room for a row finds some."""
    split = override(SMALL, {"mesh.data": 1, "mesh.fsdp": -1})
    small = dataclasses.replace(H100, memory=3_000_000)
    assert Planner(small, 1).cost(split).grad_accum_steps == 0
    cost = Planner(small, 1, most=64).cost(split)
    assert cost.devices > 1 and cost.grad_accum_steps == 1


def test_without_a_device_nothing_is_said_of_time():
    found, wanted = cost_of(SMALL), plan(SMALL)
    assert (found.bytes, found.flops) == (wanted.memory.total, wanted.run.steps * wanted.run.flops)
    assert found.hours is found.seconds is found.rows is found.grad_accum_steps is None


def test_cells_that_differ_in_constants_are_traced_once(monkeypatch):
    traced = []
    planner = Planner(H100)
    once = planner._once
    monkeypatch.setattr(planner, "_once", lambda key, compute: once(key, lambda: (traced.append(key), compute())[1]))
    base = planner.cost(CELLS["base"])
    count = len(traced)
    other = planner.cost(CELLS["weight"])
    assert len(traced) == count > 0 and other.bytes == base.bytes
    assert (other.flops / 7, other.hours / 7) == pytest.approx((base.flops / base.steps, base.hours / base.steps))
    planner.cost(CELLS["rows"])
    assert len(traced) == count + 2, "FLOPs and bytes of a step, and not those of a clip or of the optimiser"
