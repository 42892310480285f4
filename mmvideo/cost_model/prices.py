"""Predicted time of a compiled step on a GPU that is not there: its optimised HLO, priced operation by operation.

An operation that starts a kernel costs a launch and the longer of two times: the time of its products and the time of
its bytes. An operation that only renames a buffer costs nothing. The constants below were fixed on 2026-11-30 and are
not fitted to a row: `experiments/benchmarks/hlo.md` compares them with the two steps measured on an H100.

| an operation | takes |
|---|---|
| matrix product | FLOPs over `PRODUCTS` of the peak in bfloat16, or its bytes if they take longer |
| attention, forward | FLOPs of the pairs within spans over `FORWARD`: the kernel skips blocks outside |
| attention, backward | 2.5 times the FLOPs of all pairs over `BACKWARD`: the kernels skip nothing |
| anything else | bytes read and written over `BANDWIDTH` of that of the memory |
| collective | bytes of its results over the link, nothing of it hidden |

A loop costs its body as often as it turns. Kernels are taken to run one after the other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from mmvideo.cost_model.collectives import KINDS
from mmvideo.cost_model.compile_targets import GPUS
from mmvideo.cost_model.devices import DEVICES
from mmvideo.cost_model.hlo import PASSED_ON, Instruction, Program, moved, multiplied

PRODUCTS = 0.75
"""Share of the peak that cuBLAS reaches for large products in bfloat16."""

BANDWIDTH = 0.85
"""Share of the memory's bandwidth that a kernel of single numbers reaches."""

LAUNCH = 3e-6
"""Seconds between the end of a kernel and the start of the next."""

FORWARD = {64: 400e12, 128: 476e12}
BACKWARD = {64: 260e12, 128: 338e12}
"""FLOPs a second of tokamax's kernels on an H100 with heads of 64 numbers, by the queries of a block. Those for 128 are
its own trials' at 8 x 2048 x 32 x 64 (`model/attention/tokamax_blocks.json`); those for 64, its rule where nothing was
tuned, are assumed. Other devices are taken to be faster in proportion to their peak."""

ATTENTION = {
    "mmvideo_attention_forward": "forward",
    "mmvideo_attention_backward_queries": "queries",
    "mmvideo_attention_backward_keys": "keys",
}
"""The calls of `model/attention/tokamax_shapes.py`, which stands beside this room."""

FILLED = 128
"""More keys than queries by less than this fill a block."""

SHARE = {"queries": 3 / 7, "keys": 4 / 7}
"""Of the backward pass: three of the products that it does, scores among them twice, are for queries, four for keys."""

FREE = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id")
    + ("replica-id", "async-done", "async-update", "copy-done", "domain", *(f"{kind}-done" for kind in KINDS))
)
"""What starts no kernel."""

LAYOUT = frozenset(PASSED_ON) | {
    "parameter", "constant", "broadcast", "slice", "concatenate", "pad", "dynamic-slice", "dynamic-update-slice",
    "tuple", "iota", "gather",
}  # fmt: skip
"""What computes no number, within a fusion."""

SCOPES = {
    "norm": "norms",
    "activation": "activations",
    "rotary": "rotary positions",
    "qkv_bias": "bias of queries, keys and values",
    "attention": "around attention",
    "optimizer": "optimiser",
}
"""Categories by the names that the code gives its regions (`jax.named_scope`); the innermost counts."""

CATEGORIES = (
    "products", "attention forward", "attention backward", "stacks written", "stacks read", "stacks zeroed",
    "norms", "activations", "rotary positions", "bias of queries, keys and values", "around attention",
    "padding and slices", "casts", "copies", "optimiser", "collectives", "other", "launches",
)  # fmt: skip
"""In the order of a table."""


@dataclasses.dataclass(frozen=True)
class Price:
    """The cost of one operation, summed over all the times it runs.

    Attributes:
      name: name of the instruction.
      category: one of `CATEGORIES`.
      times: number of runs in a step.
      flops, bytes: FLOPs and bytes of one run.
      seconds: seconds of all runs together, without the launches.
      scope: path of names that JAX gave it.
    """

    name: str
    category: str
    times: int
    flops: float
    bytes: int
    seconds: float
    scope: str


@dataclasses.dataclass(frozen=True)
class Line:
    """A category of a bill."""

    category: str
    seconds: float
    kernels: int
    flops: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Spans:
    """The share of a row's attention that lies within spans.

    Attributes:
      share: pairs of a query and a key within a span, of all pairs of a row, on average over layers.
      width: `N H` of that attention; attention of any other width counts as dense.
    """

    share: float
    width: int


def price_list(program: Program, device: str, spans: Spans | None = None) -> tuple[Price, ...]:
    """The price of every operation that a run of the program starts.

    Args:
      program: as compiled for the device.
      device: a name of `GPUS`.
      spans: None: attention is dense.
    """
    prices = []
    for computation, one, times in launched(program, program.entry, 1):
        category = categorise(program, one, computation, times)
        flops, size = _flops(program, computation, one, spans), moved(program, computation, one)
        seconds = times * _seconds(one, category, flops, size, device)
        prices.append(Price(one.name, category, times, flops, size, seconds, one.scope))
    return tuple(prices)


def bill(prices: tuple[Price, ...]) -> tuple[Line, ...]:
    """The prices added up by category, launches for themselves."""
    lines = []
    for category in CATEGORIES:
        mine = [price for price in prices if price.category == category]
        if mine:
            kernels = sum(price.times for price in mine)
            flops, size = (sum(p.times * getattr(p, name) for p in mine) for name in ("flops", "bytes"))
            lines.append(Line(category, sum(price.seconds for price in mine), kernels, flops, size))
    kernels = sum(line.kernels for line in lines)
    return (*lines, Line("launches", kernels * LAUNCH, kernels, 0, 0))


def launched(program: Program, name: str, times: int) -> Iterator[tuple[dict[str, Instruction], Instruction, int]]:
    """Every instruction that starts a kernel, with its computation and how often it runs."""
    computation = program.computations.get(name, {})
    for one in computation.values():
        if one.kind == "while":
            turns = re.search(r'"known_trip_count":\{"n":"?(\d+)', one.text)
            yield from launched(program, _named(one, "body"), times * (int(turns[1]) if turns else 1))
        elif one.kind == "conditional":
            # Of the branches the last: that of True, and of indices the most general.
            names = re.findall(r"%?([\w.\-]+)", re.search(r"branch_computations=\{([^}]*)\}", one.text)[1])
            yield from launched(program, names[-1], times)
        elif one.kind in ("call", "async-start"):
            yield from launched(program, _named(one, "to_apply") or _named(one, "calls"), times)
        elif one.kind not in FREE:
            yield computation, one, times


def _named(one: Instruction, attribute: str) -> str:
    found = re.search(rf"\b{attribute}=%?([\w.\-]+)", one.text)
    return found[1] if found else ""


def _flops(program: Program, computation: dict[str, Instruction], one: Instruction, spans: Spans | None) -> float:
    part = ATTENTION.get(one.target)
    if part is None:
        return multiplied(program, computation, one)
    (batch, queries, heads, head), keys = (computation[name].parts[0][1] for name in one.operands[:2])
    # Keys that only fill the last block are not counted: the speeds above are for those that are real.
    real = queries if queries <= keys[1] < queries + FILLED else keys[1]
    dense = 4 * batch * queries * real * heads * head
    if part != "forward":
        return 2.5 * dense * SHARE[part]
    return dense * spans.share if spans is not None and spans.width == heads * head else dense


def _seconds(one: Instruction, category: str, flops: float, size: int, device: str) -> float:
    peak = DEVICES[device].flops
    if category.startswith("attention "):
        speeds, size = FORWARD if category.endswith("forward") else BACKWARD, re.search(r"block_q = (\d+)", one.text)
        speed = speeds.get(int(size[1]) if size else 64, speeds[64])
        return flops / (speed * peak / DEVICES["h100"].flops)
    if category == "collectives":
        return one.bytes / DEVICES[device].link
    # Products of numbers of 8 bits go twice as fast.
    peak *= 2 if one.target.endswith("f8") else 1
    return max(flops / (peak * PRODUCTS), size / (GPUS[device].bandwidth * BANDWIDTH))


def categorise(program: Program, one: Instruction, computation: dict[str, Instruction], times: int) -> str:
    """The category of an instruction that starts a kernel."""
    if one.target in ATTENTION:
        return "attention forward" if ATTENTION[one.target] == "forward" else "attention backward"
    if one.kind.removesuffix("-start") in KINDS:
        return "collectives"
    inner = program.called(one) if one.kind == "fusion" else {one.name: one}
    if any(multiplied(program, inner if one.kind == "fusion" else computation, each) for each in inner.values()):
        return "products"
    work = [each for each in inner.values() if each.kind not in LAYOUT and any(sides for _, sides in each.parts)]
    return _by_scope(work, one) if work else _by_layout(inner, one, times)


def _by_scope(work: list[Instruction], one: Instruction) -> str:
    """By the region that most of the operations are of, those of no named one left aside if there are others."""
    votes: dict[str, int] = {}
    for each in work:
        category = _scoped(each.scope or one.scope)
        votes[category] = votes.get(category, 0) + 1
    named = {category: count for category, count in votes.items() if category != "other"}
    return max(named or votes, key=(named or votes).get)


def _scoped(scope: str) -> str:
    """The category of the innermost region of a path that has one; a gradient's part is `transpose(jvp(norm))`."""
    for part in reversed(re.findall(r"[\w.]+", scope)):
        if part in SCOPES:
            return SCOPES[part]
    return "other"


def _by_layout(inner: dict[str, Instruction], one: Instruction, times: int) -> str:
    """Of what computes nothing."""
    kinds = {each.kind for each in inner.values() if any(sides for _, sides in each.parts)}
    if "dynamic-update-slice" in kinds:
        return "stacks written"
    if "dynamic-slice" in kinds:
        return "stacks read"
    scope = _scoped(one.scope)
    if kinds & {"gather"}:
        return scope
    if kinds & {"pad", "concatenate", "slice"}:
        return "padding and slices" if scope == "other" else scope
    if "convert" in kinds:
        return "casts"
    if "parameter" not in kinds and "broadcast" in kinds or one.kind == "broadcast":
        return "stacks zeroed" if scope == "other" else scope
    return "copies"
