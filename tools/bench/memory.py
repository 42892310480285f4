"""Measure the growth of memory, whole and in chunks: attention with length, the sigmoid loss with batch size.

COMMAND  python tools/bench/memory.py [--json FILE]
COST     1 core, 1 minute; nothing is run, so 16k tokens need no memory

Each line is the scratch memory of one program, forward and gradient, from XLA's memory analysis after compiling for
this platform. Growth is the exponent `p` of `bytes ~ size^p`, by least squares over all sizes.

Exit code 1 if the memory of a chunked program grows faster than linearly.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mmvideo.model.attention.dispatch import attend
from mmvideo.objectives.losses.contrastive_losses import sigmoid_contrastive

HEADS, HEAD = 12, 64
"""Heads and head width of a base-size model; one row."""

WIDTH = 512
"""Width of an embedding."""

CHUNK = 512
"""Keys, or clips, per chunk."""

LINEAR = 1.1
"""Largest exponent that counts as linear."""


def attention(length: int, chunk: int | None) -> int:
    """Return the bytes for one row of `length` tokens; without a chunk, those of the reference."""
    tokens = jax.ShapeDtypeStruct((1, length, HEADS, HEAD), jnp.float32)
    spans = jax.ShapeDtypeStruct((1, length, 2), jnp.int32)

    def total(q, k, v, spans):
        return attend(q, k, v, spans, backend="chunked" if chunk else "xla", chunk=chunk or length).sum()

    return scratch(jax.grad(total, (0, 1, 2)), tokens, tokens, tokens, spans)


def sigmoid(batch: int, chunk: int | None) -> int:
    """Return the bytes for `batch` pairs; without a chunk, those of the whole matrix."""
    vectors = jax.ShapeDtypeStruct((batch, WIDTH), jnp.float32)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    valid = jax.ShapeDtypeStruct((batch,), jnp.bool_)

    def loss(a, b, scale, bias, valid):
        return sigmoid_contrastive(a, b, valid, scale, bias, chunk=chunk)

    return scratch(jax.grad(loss, (0, 1, 2, 3)), vectors, vectors, number, number, valid)


def scratch(function: Callable, *shapes: jax.ShapeDtypeStruct) -> int:
    """Return the bytes that a compiled program needs besides arguments and results."""
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def growth(sizes: Sequence[int], used: Sequence[int]) -> float:
    """Return the exponent of growth: the slope of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(used), 1)[0])


SUBJECTS: dict[str, tuple[Callable[[int, int | None], int], str, tuple[int, ...]]] = {
    "attention": (attention, "tokens", (1024, 2048, 4096, 8192, 16384)),
    "sigmoid loss": (sigmoid, "pairs", (1024, 2048, 4096, 8192, 16384, 32768)),
}
"""Each measured function, the unit of its size, and the sizes."""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    print(f"scratch memory of forward and gradient by XLA for {jax.default_backend()}, chunks of {CHUNK}, MiB")
    print(f"{'':14}{'size':>14}{'whole':>12}{'in chunks':>12}{'times less':>12}")
    found = {}
    for name, (measure, unit, sizes) in SUBJECTS.items():
        whole, chunked = [], []
        for size in sizes:
            whole.append(measure(size, None))
            chunked.append(measure(size, CHUNK))
            cells = f"{whole[-1] / 2**20:>12,.0f}{chunked[-1] / 2**20:>12,.0f}{whole[-1] / chunked[-1]:>12.1f}"
            print(f"{name:14}{f'{size} {unit}':>14}{cells}", flush=True)
        powers = growth(sizes, whole), growth(sizes, chunked)
        print(f"{name:14}{'growth':>14}{powers[0]:>12.2f}{powers[1]:>12.2f}")
        found[name] = {"sizes": sizes, "whole": whole, "chunked": chunked, "growth": powers}
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")
    return 0 if all(subject["growth"][1] <= LINEAR for subject in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
