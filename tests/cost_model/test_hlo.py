"""Programs as XLA writes them, read: what each operation multiplies, reads and writes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mmvideo.cost_model.hlo import Program, moved, multiplied, read_program

TEXT = """
HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[8,4]{1,0})->bf16[8,4]{1,0}}

%half (p: f32[8,4]) -> bf16[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %c = bf16[8,4]{1,0} convert(%p)
}

%take (p: f32[24,8,4], i: s32[]) -> bf16[8,4] {
  %p.1 = f32[24,8,4]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = f32[1,8,4]{2,1,0} dynamic-slice(%p.1, %i, %zero, %zero), dynamic_slice_sizes={1,8,4}
  %flat = f32[8,4]{1,0} bitcast(%slice)
  ROOT %c.1 = bf16[8,4]{1,0} convert(%flat)
}

%put (stack: bf16[24,8,4], x: bf16[8,4], i: s32[]) -> bf16[24,8,4] {
  %stack = bf16[24,8,4]{2,1,0} parameter(0)
  %x.1 = bf16[8,4]{1,0} parameter(1)
  %i.1 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  %flat.1 = bf16[1,8,4]{2,1,0} bitcast(%x.1)
  ROOT %update = bf16[24,8,4]{2,1,0} dynamic-update-slice(%stack, %flat.1, %i.1, %zero.1, %zero.1)
}

%body (state: (s32[], bf16[24,8,4], f32[24,8,4])) -> (s32[], bf16[24,8,4], f32[24,8,4]) {
  %state = (s32[], bf16[24,8,4]{2,1,0}, f32[24,8,4]{2,1,0}) parameter(0)
  %turn = s32[] get-tuple-element(%state), index=0
  %kept = bf16[24,8,4]{2,1,0} get-tuple-element(%state), index=1
  %layers = f32[24,8,4]{2,1,0} get-tuple-element(%state), index=2
  %taken = bf16[8,4]{1,0} fusion(%layers, %turn), kind=kLoop, calls=%take
  %product = (bf16[8,8]{1,0}, s8[4194304]{0}) custom-call(%taken, %taken), custom_call_target="__cublas$lt$matmul", \
backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],\
"rhs_contracting_dimensions":["1"]},"epilogue":"DEFAULT"}}
  %stacked = bf16[24,8,4]{2,1,0} fusion(%kept, %taken, %turn), kind=kLoop, calls=%put
  ROOT %next = (s32[], bf16[24,8,4]{2,1,0}, f32[24,8,4]{2,1,0}) tuple(%turn, %stacked, %layers)
}

%more (state: (s32[], bf16[24,8,4], f32[24,8,4])) -> pred[] {
  %state.1 = (s32[], bf16[24,8,4]{2,1,0}, f32[24,8,4]{2,1,0}) parameter(0)
  %turn.1 = s32[] get-tuple-element(%state.1), index=0
  %end = s32[] constant(24)
  ROOT %less = pred[] compare(%turn.1, %end), direction=LT
}

ENTRY %main (x: f32[8,4], layers: f32[24,8,4]) -> bf16[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %all = f32[24,8,4]{2,1,0} parameter(1)
  %first = s32[] constant(0)
  %none = bf16[] constant(0)
  %empty = bf16[24,8,4]{2,1,0} broadcast(%none), dimensions={}
  %begin = (s32[], bf16[24,8,4]{2,1,0}, f32[24,8,4]{2,1,0}) tuple(%first, %empty, %all)
  %loop = (s32[], bf16[24,8,4]{2,1,0}, f32[24,8,4]{2,1,0}) while(%begin), condition=%more, body=%body, \
backend_config={"known_trip_count":{"n":"24"}}
  %dot = f32[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={0}, rhs_contracting_dims={0}
  ROOT %f = bf16[8,4]{1,0} fusion(%x), kind=kLoop, calls=%half
}
"""


@pytest.fixture(scope="module")
def program() -> Program:
    return read_program(TEXT)


def costs(program: Program, computation: str, name: str) -> tuple[int, int]:
    """FLOPs and bytes of an instruction."""
    lines = program.computations[computation]
    return multiplied(program, lines, lines[name]), moved(program, lines, lines[name])


def test_a_fusion_reads_and_writes_once(program):
    assert costs(program, "main", "f") == (0, 8 * 4 * (4 + 2))


def test_of_a_stack_only_the_slice_is_read_or_written(program):
    """A slice of float32 comes in and one of bfloat16 goes out; then it is read and written; a turn is 4 bytes."""
    assert costs(program, "body", "taken") == (0, 32 * 4 + 32 * 2 + 4)
    assert costs(program, "body", "stacked") == (0, 32 * 2 + 32 * 2 + 4)


def test_products_are_counted_by_what_is_summed(program):
    """Two FLOPs a multiply-add; the room that cuBLAS works in is not moved."""
    assert costs(program, "body", "product") == (2 * 8 * 8 * 4, (32 + 32 + 64) * 2)
    assert costs(program, "main", "dot") == (2 * 4 * 4 * 8, 2 * 128 + 64)


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no line that begins with ENTRY"):
        read_program("nothing of the kind")


def test_a_program_of_the_compiler_at_hand_is_read():
    """What XLA compiles for this machine: a product in a loop, its FLOPs those of all turns."""

    def run(x, w):
        return jax.lax.scan(lambda c, layer: (jnp.tanh(c @ layer), None), x, w)[0]

    shapes = (jax.ShapeDtypeStruct((32, 64), jnp.float32), jax.ShapeDtypeStruct((5, 64, 64), jnp.float32))
    program = read_program(jax.jit(run).lower(*shapes).compile().as_text())
    flops = {
        name: sum(multiplied(program, lines, one) for one in lines.values() if one.kind == "dot")
        for name, lines in program.computations.items()
    }
    assert sum(flops.values()) == 2 * 32 * 64 * 64
