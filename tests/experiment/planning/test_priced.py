"""The step of a launch priced: the compiler's program stands in files, and what it costs in tables."""

from __future__ import annotations

import dataclasses

import pytest

from mmvideo.cli.plan_profile import profile_tables
from mmvideo.cost_model.buffer_assignment import Assignment
from mmvideo.cost_model.devices import DEVICES
from mmvideo.cost_model.prices import LAUNCH
from mmvideo.experiment.planning.abstract_model import sketched
from mmvideo.experiment.planning.device_plan import plan_devices
from mmvideo.experiment.planning.priced import as_dict, layers_on_gpus, priced, row_spans, timed
from mmvideo.experiment.planning.xla_compile import with_layers

SIDE = 4096
TEXT = f"""
ENTRY %main (x: bf16[{SIDE},{SIDE}], y: bf16[{SIDE},{SIDE}]) -> bf16[{SIDE},{SIDE}] {{
  %x = bf16[{SIDE},{SIDE}]{{1,0}} parameter(0)
  %y = bf16[{SIDE},{SIDE}]{{1,0}} parameter(1)
  %dot = bf16[{SIDE},{SIDE}]{{1,0}} dot(%x, %y), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
  ROOT %sum = bf16[{SIDE},{SIDE}]{{1,0}} add(%dot, %y), metadata={{op_name="jit(step)/jvp(norm)/add"}}
}}
"""
FLOPS = 2 * SIDE**3


@pytest.fixture(scope="module")
def found():
    return priced(Assignment(2**30, 2**31, TEXT), "h100", "scanned", 4, FLOPS, None, 12.0)


def test_all_operations_are_in_the_sum_and_the_share_of_the_peak_follows(found):
    product, addition = FLOPS / (989.4e12 * 0.75), 3 * 2 * SIDE**2 / (3.35232e12 * 0.85)
    assert found.seconds == pytest.approx(product + addition + 2 * LAUNCH)
    assert found.mfu == pytest.approx(FLOPS / found.seconds / 989.4e12)
    assert [price.name for price in found.largest] == ["dot", "sum"] and found.calls == {"dot": 1, "add": 1}
    assert as_dict(found)["lines"][0]["category"] == "products"


def test_the_tables_tell_both_ways_and_what_a_run_does(found):
    other = dataclasses.replace(found, layers="unrolled", seconds=0.001)
    table, largest = profile_tables([found, other], "unrolled")
    assert [column.header for column in table.columns][1:] == ["layers scanned", "layers unrolled"]
    assert "A run goes unrolled" in str(table.caption) and largest.row_count == 2


def test_a_step_is_told_from_the_price_of_as_many_rows(tiny, found):
    """Of the way that a run on a GPU has its layers: unrolled, here half as long."""
    launch = plan_devices(tiny, DEVICES["h100"], 1, mfu=0.5)
    assert layers_on_gpus(tiny.model) == "unrolled"
    half = dataclasses.replace(found, layers="unrolled", seconds=found.seconds / 2)
    told = timed(tiny, launch, [found, half])
    assert told.seconds == pytest.approx(found.seconds / 2 * launch.rows / 4)
    assert "priced" in told.source and "not measured" in told.source


def test_spans_are_a_share_of_a_row(tiny):
    spans = row_spans(tiny, sketched(tiny))
    assert 0 < spans.share <= 1


def test_layers_are_scanned_or_as_a_run_on_a_gpu_has_them(tiny):
    assert with_layers(tiny.model, "scanned").scan is True
    assert with_layers(dataclasses.replace(tiny.model, scan=True), "unrolled").scan == "auto"
