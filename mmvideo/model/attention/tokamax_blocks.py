"""Sizes of the blocks in which tokamax's kernels for Hopper go through queries and keys, by measurement.

tokamax keeps the fastest of its own trials for round lengths, and takes a rule of thumb for all others. A row of
video, sound and text is never of a round length, so that here the trials of the nearest one are taken. The figures are
in `tokamax_blocks.json`; `tools/bench/attention.py --tune` makes lines of it on a device.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

TABLE = Path(__file__).with_suffix(".json")
"""The measured sizes."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Sizes for a width of heads and a length of rows.

    Attributes:
      head, length: that they were measured for.
      forward: `block_q`, `block_kv`, `num_stages` and `persistent` of the forward kernel.
      backward: `block_q`, `block_kv`, `num_stages` and `compute_wgs` of both kernels of the gradient.
      tflops: that they reached, forwards and backwards, all keys seen; backwards counts 2.5 times the forward FLOPs.
    """

    head: int
    length: int
    forward: dict[str, int | bool]
    backward: dict[str, int]
    tflops: tuple[int, int]


@functools.cache
def measured() -> tuple[Blocks, ...]:
    """All that was measured."""
    found = json.loads(TABLE.read_text(encoding="utf-8"))["blocks"]
    return tuple(Blocks(**one | {"tflops": tuple(one["tflops"])}) for one in found)


def nearest_blocks(head: int, length: int) -> Blocks | None:
    """The blocks measured for the length that differs by the smallest factor; None for heads of another width.

    Args:
      head: `H`.
      length: `L`, 1 or more.

    Example: 2128 tokens in heads of 64 take what was measured for 2048.
    """
    alike = [each for each in measured() if each.head == head]
    return min(alike, key=lambda each: abs(math.log(each.length / length)), default=None)
