"""The communication between devices in a step: by formula before a launch, and from XLA's compiled program."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")

WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
"""Bytes per element by XLA's name of its type; 4 for all other types."""


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of one kind in a step.

    Attributes:
      kind: one of `KINDS`.
      count: number of executions.
      bytes: bytes of the results on one device.
    """

    kind: str
    count: int
    bytes: int


def expected_traffic(parameters: int, gradients: int, sizes: Mapping[str, int]) -> float:
    """Return the bytes that a device sends for parameters and gradients in a step, over rings.

    Along `fsdp`, parameters are gathered for the forward and the backward pass, and gradients are reduce-scattered:
    `k - 1` shards each time. Along `data`, the gradients of a device are all-reduced: `2 (k - 1) / k` of them (Thakur
    et al. 2005, section 4). The traffic of `tensor`, `context` and losses is left out.

    Args:
      parameters: bytes of the parameters that one device holds.
      gradients: bytes of the gradients that one device holds.
      sizes: devices along each axis of the mesh.
    """
    # Example: fsdp 4, data 2, shards of 100 bytes each: 3 * (200 + 100) for the gathers and the reduce-scatter, and
    # 2 * 1/2 * 100 for the all-reduce: 1000 bytes.
    shards, copies = sizes["fsdp"], sizes["data"]
    return (shards - 1) * (2 * parameters + gradients) + 2 * (copies - 1) / copies * gradients


def read_collectives(text: str) -> tuple[Collective, ...]:
    """Return the collectives of a compiled program, each counted as often as its loops run it.

    Args:
      text: optimised HLO, `compiled.as_text()`. A loop whose length XLA doesn't state counts once.
    """
    bodies = dict(_computations(text))
    count, size = Counter(), Counter()
    for name, times in _times(text, bodies).items():
        for line in bodies[name]:
            # Asynchronous collectives are a pair, `all-gather-start` and `all-gather-done`: only the start is counted.
            found = re.search(rf"= (.+?) ({'|'.join(KINDS)})(-start)?\(", line)
            if found:
                count[found[2]] += times
                size[found[2]] += times * _bytes(_results(found[1], found[2]) if found[3] else found[1])
    return tuple(Collective(kind, count[kind], size[kind]) for kind in KINDS if count[kind])


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield name and lines of each computation of a module."""
    name, lines = None, []
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if head:
            name, lines = head[1], []
        elif line.startswith("}") and name:
            yield name, lines
            name = None
        elif name:
            lines.append(line)


def _times(text: str, bodies: Mapping[str, list[str]]) -> dict[str, int]:
    """Return the number of executions of each computation."""
    # Example: ENTRY has a while with 12 turns over `body`, which calls `fusion`: callers are {body: [(ENTRY, 12)],
    # fusion: [(body, 1)]}, so `fusion` runs 12 times.
    callers: dict[str, list[tuple[str, int]]] = {name: [] for name in bodies}
    for name, lines in bodies.items():
        for line in lines:
            turns = re.search(r'known_trip_count":\{"n":"(\d+)"', line) if " while(" in line else None
            for kind, called in re.findall(r"(body|calls|to_apply|condition|computation)=%?([\w.\-]+)", line):
                if called in callers:
                    callers[called].append((name, int(turns[1]) if turns and kind == "body" else 1))
            for group in re.findall(r"(?:branch_computations|called_computations)=\{([^}]*)\}", line):
                for called in re.findall(r"%?([\w.\-]+)", group):
                    if called in callers:
                        callers[called].append((name, 1))
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)[1]
    known: dict[str, int] = {entry: 1}

    def times(name: str) -> int:
        if name not in known:
            # A computation that only calls itself counts 0; without this entry it would recurse forever.
            known[name] = 0
            known[name] = sum(turns * times(caller) for caller, turns in callers[name])
        return known[name]

    return {name: times(name) for name in bodies if times(name)}


def _results(shape: str, kind: str) -> str:
    """Return the shape of the results of a collective that is only started: the second part of `(inputs, results, …)`.

    A started all-reduce has the shape of its results, a tuple if there are several.
    """
    # Example: "(f32[4], f32[16,2], u32[])" has the parts f32[4], f32[16,2] and u32[]: only commas outside of inner
    # brackets separate them.
    parts, depth = [""], 0
    for letter in shape[1:-1] if shape.startswith("(") else "":
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return shape if len(parts) == 1 or kind == "all-reduce" else parts[1]


def _bytes(shape: str) -> int:
    """Return the bytes of a shape in XLA's notation; of a tuple, the sum. Example: `bf16[2,3]` has 12."""
    total = 0
    for kind, sides in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shape):
        total += WIDTHS.get(kind, 4) * math.prod(int(side) for side in sides.split(",") if side)
    return total
