"""Measure time and memory of exact blocked search: ranks and best entries of n queries among n entries.

COMMAND  python tools/bench/search.py [--width 256] [--largest 16000] [--devices] [--json FILE]
COST     2 cores, 1 minute

The unit embeddings find the right entry about every second time, like those of a good model. Time grows with the square
of n, memory linearly with n. Both are extrapolated from the two largest sizes to a million queries and a million
entries; these lines are marked as not measured. Memory is what the search needs besides the embeddings, by Python's
tracemalloc, without the buffers of BLAS. On a machine whose cores are busy, the threads of BLAS wait for each other and
spin: set OPENBLAS_NUM_THREADS=1 there and measure one core. With --devices the same searches also run on a mesh of all
devices; the host then holds only its own part, and the first search of a size compiles.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from mmvideo.evaluation.retrieval.dual_softmax import dual_softmax_ranks
from mmvideo.evaluation.retrieval.exact_search import most_similar
from mmvideo.evaluation.retrieval.recall_at_k import rank
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh

MILLION = 1_000_000
SLOWER = 2
"""Divisor of the number of queries for dual softmax, which works in float64."""


def main() -> int:
    """Measure growing sizes and print a line for each, then the extrapolation and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256, help="width of an embedding")
    parser.add_argument("--largest", type=int, default=16000, help="queries and entries of the largest search")
    parser.add_argument("--devices", action="store_true", help="search on all devices of JAX as well")
    parser.add_argument("--json", type=Path, help="also write the JSON line to this file")
    options = parser.parse_args()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}"
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(f"{machine}; {date}; embeddings of {options.width} numbers")
    found = []
    searches = [
        ("ranks", _ranks, options.largest),
        ("ten best", _best, options.largest),
        ("dual softmax ranks", _dual, options.largest // SLOWER),
    ]
    if options.devices:
        mesh = make_mesh(Mesh())
        where = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
        for name, search in (("ranks", _ranks), ("ten best", _best)):
            searches.append((f"{name}, {where}", functools.partial(search, mesh=mesh), options.largest))
    for name, search, largest in searches:
        lines = [_measure(name, search, size, options.width) for size in (largest // 4, largest // 2, largest)]
        found += [*lines, _million(lines[-2], lines[-1], options.width)]
    line = json.dumps({"bench": "search", "machine": machine, "date": date, "width": options.width, "found": found})
    print(line)
    if options.json:
        options.json.write_text(line + "\n")
    return 0


def _ranks(query: np.ndarray, gallery: np.ndarray, mesh: jax.sharding.Mesh | None = None) -> float:
    number = np.arange(len(query))
    return float((rank(query, gallery, number, number, mesh=mesh).worst == 1).mean())


def _best(query: np.ndarray, gallery: np.ndarray, mesh: jax.sharding.Mesh | None = None) -> float:
    entries, _ = most_similar(query, gallery, 10, mesh=mesh)
    return float((entries[:, 0] == np.arange(len(query))).mean())


def _dual(query: np.ndarray, gallery: np.ndarray) -> float:
    number = np.arange(len(query))
    worst, _ = dual_softmax_ranks(query, gallery, number, number)
    return float((worst == 1).mean())


def _measure(name: str, search: Callable[[np.ndarray, np.ndarray], float], size: int, width: int) -> dict:
    """Return the seconds of one search, and its peak bytes besides the embeddings."""
    query, gallery = _embeddings(size, width)
    tracemalloc.start()
    started, worked = time.perf_counter(), time.process_time()
    found = search(query, gallery)
    seconds, most = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    processor = time.process_time() - worked
    tracemalloc.stop()
    _print(name, size, f"{seconds:9.2f} s {processor:9.2f} core s", most, f"R@1 {found:.3f}")
    return {"search": name, "size": size, "seconds": seconds, "processor": processor, "bytes": most, "r@1": found}


def _million(small: dict, large: dict, width: int) -> dict:
    """Extrapolate to a million by a million, with time quadratic and memory linear in the size."""
    seconds, processor = (large[name] * (MILLION / large["size"]) ** 2 for name in ("seconds", "processor"))
    slope = max(large["bytes"] - small["bytes"], 0) / (large["size"] - small["size"])
    most = large["bytes"] + slope * (MILLION - large["size"])
    vectors = 2 * 4 * width * MILLION
    hours = f"{seconds / 3600:9.2f} h {processor / 3600:9.2f} core h"
    _print(small["search"], MILLION, hours, most, f"extrapolated, beside {vectors / 2**20:.0f} MiB of embeddings")
    found = {"search": small["search"], "size": MILLION, "seconds": seconds, "processor": processor, "bytes": most}
    return found | {"extrapolated": True}


def _print(name: str, size: int, took: str, most: float, more: str) -> None:
    print(f"{name:20s}{size:9d} x {size:<9d}{took} {most / 2**20:9.1f} MiB   {more}", flush=True)


def _embeddings(size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and entries, with about every second query nearest to its own entry."""
    draw = np.random.default_rng(0)
    query = draw.standard_normal((size, width), np.float32)
    gallery = query + 3.6 * draw.standard_normal((size, width), np.float32)
    return tuple(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (query, gallery))


if __name__ == "__main__":
    sys.exit(main())
