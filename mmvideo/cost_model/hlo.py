"""Optimised HLO as text, read into instructions, with what each of them multiplies and moves.

Only what a price needs is kept: shapes, operands, which computations are called, and of custom calls what they are.

Example: of the program

    %half (p: f32[8,4]) -> bf16[8,4] {
      %p = f32[8,4]{1,0} parameter(0)
      ROOT %c = bf16[8,4]{1,0} convert(%p)
    }
    ENTRY %main (x: f32[8,4]) -> bf16[8,4] {
      %x = f32[8,4]{1,0} parameter(0)
      ROOT %f = bf16[8,4]{1,0} fusion(%x), kind=kLoop, calls=%half
    }

`moved(program, f)` is 8 · 4 · (4 + 2) = 192 bytes: the fusion reads `x` once and writes its result once, whatever
happens in between.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

from mmvideo.cost_model.collectives import WIDTHS

Part = tuple[str, tuple[int, ...]]
"""Kind of number, and sides."""

PASSED_ON = ("bitcast", "reshape", "get-tuple-element", "convert", "copy", "transpose")
"""What only hands on what it is given, within a fusion."""

TAKEN = ("dynamic-slice", "slice", "gather")
"""What reads of its first operand only as much as it gives."""


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
      name: without the `%`.
      parts: its result; several of a tuple.
      kind: its opcode, such as `fusion`.
      operands: names.
      text: all that stands behind the operands: attributes, metadata, configuration.
      root: whether it is what the computation gives.
    """

    name: str
    parts: tuple[Part, ...]
    kind: str
    operands: tuple[str, ...]
    text: str
    root: bool

    @functools.cached_property
    def scope(self) -> str:
        """The path of names that JAX gave the operation; empty where it gave none."""
        found = re.search(r'op_name="([^"]*)"', self.text)
        return found[1] if found else ""

    @functools.cached_property
    def target(self) -> str:
        """Of a custom call, what it calls."""
        found = re.search(r'custom_call_target="([^"]*)"', self.text)
        return found[1] if found else ""

    @property
    def bytes(self) -> int:
        """Of the result."""
        return sum(size(part) for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Program:
    """A module.

    Attributes:
      entry: name of the computation that is run.
      computations: instructions by name of the computation, and these by their own names, in their order.
    """

    entry: str
    computations: dict[str, dict[str, Instruction]]

    def called(self, instruction: Instruction, attribute: str = "calls") -> dict[str, Instruction]:
        """The computation that an attribute of an instruction names; empty if there is none."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", instruction.text)
        return self.computations.get(found[1], {}) if found else {}


def size(part: Part) -> int:
    """Bytes of an array."""
    return WIDTHS.get(part[0], 4) * math.prod(part[1])


def read_program(text: str) -> Program:
    """Reads a module as XLA writes it, `compiled.as_text()` or a file of `--xla_dump_to`.

    Raises:
      ValueError: a text without an entry computation.
    """
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    if entry is None:
        raise ValueError("this is no HLO module: it has no line that begins with ENTRY")
    computations: dict[str, dict[str, Instruction]] = {}
    for name, lines in _computations(text):
        found = (read_instruction(line) for line in lines)
        computations[name] = {one.name: one for one in found if one is not None}
    return Program(entry[1], computations)


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of each computation."""
    name, lines = None, []
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if head:
            name, lines = head[1], []
        elif name and line.lstrip().startswith("}"):
            yield name, lines
            name = None
        elif name:
            lines.append(line)


def read_instruction(line: str) -> Instruction | None:
    """Reads one line; None for a line that is no instruction."""
    head = re.match(r"\s*(ROOT )?%?([\w.\-]+) = ", line)
    if head is None:
        return None
    shape_end = _closing(line, head.end()) + 1 if line[head.end()] == "(" else line.index(" ", head.end())
    kind = re.compile(r"\s*([\w\-]+)\(").match(line, shape_end)
    if kind is None:
        return None
    end = _closing(line, kind.end() - 1)
    operands = re.findall(r"%([\w.\-]+)", line[kind.end() : end])
    parts = _parts(line[head.end() : shape_end])
    return Instruction(head[2], parts, kind[1], tuple(operands), line[end + 1 :], bool(head[1]))


def _closing(line: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(line)):
        depth += (line[place] == "(") - (line[place] == ")")
        if not depth:
            return place
    raise ValueError(f"a bracket is never closed in: {line[:200]}")


def _parts(shape: str) -> tuple[Part, ...]:
    # Layouts such as {1,0:T(8,128)} hold no names of kinds before a bracket of sides.
    found = re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", shape)
    return tuple((kind, tuple(int(side) for side in sides.split(",") if side)) for kind, sides in found)


def multiplied(program: Program, computation: dict[str, Instruction], instruction: Instruction) -> int:
    """FLOPs of an instruction's matrix products, those within a fusion included; 0 for all else."""
    if instruction.kind == "fusion":
        inner = program.called(instruction)
        return sum(multiplied(program, inner, one) for one in inner.values())
    if instruction.kind == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.text)
    elif instruction.kind == "custom-call" and "matmul" in instruction.target or "gemm" in instruction.target:
        contracted = re.search(r'"lhs_contracting_dimensions":\[([\d",]*)\]', instruction.text)
    elif instruction.kind == "convolution" or instruction.target.startswith("__cudnn$conv"):
        return _convolved(computation, instruction)
    else:
        return 0
    sides = computation[instruction.operands[0]].parts[0][1]
    axes = re.findall(r"\d+", contracted[1]) if contracted else []
    return 2 * math.prod(instruction.parts[0][1]) * math.prod(sides[int(axis)] for axis in axes)


def _convolved(computation: dict[str, Instruction], instruction: Instruction) -> int:
    """Each number that comes out takes the whole kernel of its channel."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", instruction.text)
    kernel = computation[instruction.operands[1]].parts[0][1]
    outputs = kernel[labels[1].index("o")] if labels else 1
    return 2 * math.prod(instruction.parts[0][1]) * math.prod(kernel) // outputs


def moved(program: Program, computation: dict[str, Instruction], instruction: Instruction) -> int:
    """Bytes that an instruction reads and writes in a device's memory, each operand once.

    Of what is sliced only the slice is read, and of what a slice is put into only the slice is written.
    """
    operands = [computation[name] for name in instruction.operands if name in computation]
    if instruction.kind == "fusion":
        return _moved_by_fusion(program.called(instruction), instruction, operands)
    if instruction.kind == "dynamic-update-slice":
        return 2 * operands[1].bytes
    if instruction.kind in TAKEN:
        return 2 * instruction.bytes
    if instruction.kind == "custom-call" and instruction.target.startswith("__cu"):
        # A result of bytes is room to work in.
        own = sum(size(part) for part in instruction.parts if part[0] not in ("s8", "u8"))
        return own + sum(operand.bytes for operand in operands)
    return instruction.bytes + sum(operand.bytes for operand in operands)


def _moved_by_fusion(inner: dict[str, Instruction], outer: Instruction, operands: list[Instruction]) -> int:
    users: dict[str, list[Instruction]] = {name: [] for name in inner}
    for one in inner.values():
        for name in dict.fromkeys(one.operands):
            users[name].append(one)
    parameters = (one for one in inner.values() if one.kind == "parameter")
    read = sum(_read(one, users, one.bytes) for one in parameters)
    (root,) = (one for one in inner.values() if one.root)
    results = [inner[name] for name in root.operands] if root.kind == "tuple" else [root]
    return read + sum(_written(one, inner) for one in results)


def _read(value: Instruction, users: dict[str, list[Instruction]], most: int) -> int:
    """Bytes that a fusion reads of one of its parameters."""
    total = 0
    for user in users[value.name]:
        if user.kind in TAKEN and user.operands[0] == value.name:
            width = size((value.parts[0][0], (1,)))
            total += width * math.prod(user.parts[0][1])
        elif user.kind == "dynamic-update-slice" and user.operands[0] == value.name:
            continue
        elif user.kind in PASSED_ON and not user.root:
            total += _read(user, users, most)
        else:
            return most
    return min(total, most)


def _written(value: Instruction, inner: dict[str, Instruction]) -> int:
    """Bytes that a fusion writes of one of its results."""
    at = value
    while at.kind in PASSED_ON and at.operands:
        at = inner[at.operands[0]]
    if at.kind == "dynamic-update-slice":
        return size((value.parts[0][0], inner[at.operands[1]].parts[0][1]))
    return value.bytes
