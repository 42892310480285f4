"""A program priced: what each operation takes on a GPU, and the sums by category."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

from mmvideo.cost_model.compile_targets import GPUS
from mmvideo.cost_model.devices import DEVICES
from mmvideo.cost_model.hlo import Instruction, Program, read_program
from mmvideo.cost_model.prices import (
    ATTENTION,
    BACKWARD,
    BANDWIDTH,
    FORWARD,
    LAUNCH,
    PRODUCTS,
    Spans,
    bill,
    price_list,
)
from mmvideo.model.attention.tokamax_shapes import CALLS

FLOPS, BYTES = DEVICES["h100"].flops * PRODUCTS, GPUS["h100"].bandwidth * BANDWIDTH


@pytest.fixture(scope="module")
def program() -> Program:
    """The text of `test_hlo.py`."""
    spec = importlib.util.spec_from_file_location("texts", Path(__file__).parent / "test_hlo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return read_program(module.TEXT)


def test_a_loop_costs_its_body_as_often_as_it_turns(program):
    prices = {price.name: price for price in price_list(program, "h100")}
    assert prices["taken"].times == prices["product"].times == 24 and prices["f"].times == 1
    assert prices["taken"].seconds == pytest.approx(24 * (32 * 6 + 4) / BYTES)
    # A product of so few numbers waits for its bytes.
    assert prices["product"].seconds == pytest.approx(24 * 256 / BYTES)
    assert not {"loop", "begin", "kept", "x", "less"} & prices.keys()


def test_the_bill_adds_up_by_category(program):
    lines = {line.category: line for line in bill(price_list(program, "h100"))}
    assert lines["stacks written"].kernels == lines["stacks read"].kernels == 24
    assert lines["stacks zeroed"].bytes == 24 * 32 * 2 + 2
    assert lines["casts"].kernels == 1 and lines["products"].kernels == 25
    assert lines["products"].flops == 24 * 512 + 256
    assert lines["launches"].seconds == pytest.approx(LAUNCH * (24 * 3 + 3))


def test_a_large_product_takes_its_flops():
    side = 8192
    text = f"""ENTRY %main (x: bf16[{side},{side}]) -> bf16[{side},{side}] {{
      %x = bf16[{side},{side}]{{1,0}} parameter(0)
      ROOT %dot = bf16[{side},{side}]{{1,0}} dot(%x, %x), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
    }}"""
    (price,) = price_list(read_program(text), "h100")
    assert price.seconds == pytest.approx(2 * side**3 / FLOPS)
    # Products are as fast on an H200, memory is faster.
    assert price_list(read_program(text), "h200")[0].seconds == price.seconds
    small = dataclasses.replace(read_program(text.replace(str(side), "64")))
    assert price_list(small, "h200")[0].seconds < price_list(small, "h100")[0].seconds


def test_attention_skips_by_span_forwards_and_nothing_backwards():
    """The calls are those that stand in for tokamax's kernels; a forward kernel's keys may be filled up to a block."""
    assert ATTENTION == {name: part for part, name in CALLS.items()}
    heads = "bf16[2,100,4,64]{3,2,1,0}"
    filled = heads.replace("100", "128")
    blocks = "backend_config={block_kv = 64 : i32, block_q = 128 : i32}"
    text = f"""ENTRY %main (q: {heads}, k: {filled}) -> {heads} {{
      %q = {heads} parameter(0)
      %k = {filled} parameter(1)
      %o = {heads} custom-call(%q, %k, %k), custom_call_target="{CALLS["forward"]}"
      %dq = {heads} custom-call(%q, %q, %q, %o), custom_call_target="{CALLS["queries"]}", {blocks}
      ROOT %dkv = ({heads}, {heads}) custom-call(%q, %q, %q, %o), custom_call_target="{CALLS["keys"]}", {blocks}
    }}"""
    dense = 4 * 2 * 100 * 100 * 256
    lines = {line.category: line for line in bill(price_list(read_program(text), "h100", Spans(0.5, 256)))}
    assert lines["attention forward"].seconds == pytest.approx(0.5 * dense / FORWARD[64])
    assert lines["attention backward"].seconds == pytest.approx(2.5 * dense / BACKWARD[128])
    # Attention of another width is that of a decoder, whose spans are not told.
    (other, *_) = price_list(read_program(text), "h100", Spans(0.5, 512))
    assert other.seconds == pytest.approx(dense / FORWARD[64])


@pytest.mark.parametrize(
    ("scope", "category"),
    [
        ("jit(step)/transpose(jvp(norm))/checkpoint/rematted_computation/mul", "norms"),
        ("jit(step)/jvp(activation)/checkpoint/erf", "activations"),
        ("jit(step)/jvp(attention)/rotary/mul", "rotary positions"),
        ("jit(step)/optimizer/sqrt", "optimiser"),
        ("jit(step)/somewhere/mul", "other"),
    ],
)
def test_the_innermost_region_of_ours_gives_the_category(scope, category):
    x = Instruction("x", (("f32", (8,)),), "parameter", (), "", False)
    y = Instruction("y", (("f32", (8,)),), "multiply", ("x", "x"), f', metadata={{op_name="{scope}"}}', True)
    (price,) = price_list(Program("main", {"main": {"x": x, "y": y}}), "h100")
    assert price.category == category


@pytest.mark.parametrize("size", ["B", "L"])
def test_what_was_measured_on_an_h100_is_predicted(size):
    """The committed prices of the two steps whose program is still the one that was measured: time and bytes."""
    folder = Path(__file__).parents[2] / "experiments" / "benchmarks"
    priced, timed = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("hlo.jsonl", "step_h100.jsonl")
    )
    (found,) = (line for line in priced if line["size"] == size and line["change"] == "before")
    wanted = {"size": size, "task": "trimodal", "rows": "whole", "attention": "tokamax", "remat": "none"}
    (real,) = (line for line in timed if wanted.items() <= line.items() and line["elementwise"] == "computed again")
    assert found["rows"] == real["clips"] and found["layers"] == real["layers"] == "scanned"
    assert sum(line["seconds"] for line in found["lines"]) == pytest.approx(found["seconds"], rel=1e-4)
    assert found["seconds"] == pytest.approx(real["seconds"], rel=0.06)
    assert (found["arguments"] + found["scratch"]) / 2**30 == pytest.approx(real["gib"], rel=0.025)
