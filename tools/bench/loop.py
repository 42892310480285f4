"""Measure the cost of a run's loop besides its steps, and the growth of compile time with depth.

COMMAND  python tools/bench/loop.py [--parts loop depth] [--size tiny] [--batch 2] [--blocks 12] [--json FILE]
COST     1 core, 3 minutes
NEEDS    all of mmvideo for `loop`; jax, flax, optax, einops and numpy for `depth`

loop     The whole loop of `training.loop.train` (placing the batch, reading metrics, the ledger, lines and events)
         against the same step alone, called on a batch that is on the device. Blocks of steps of the two take turns
         within one run; the median over pairs of neighbours counts. Without --size the model has two layers of width
         64, whose steps are too short to hide the loop's cost. An accelerator is timed by the clock; a CPU, whose steps
         are slower when others use it, by the processor seconds of this process.
depth    Seconds to trace and compile the step of 12 and of 48 scanned layers; the best of several rounds in turn.

Exit code 1 if the loop costs more than 5 %, or if compile time grows by a factor of 1.3 or more.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from step import Case, make_batch, objectives, spec

from mmvideo.model.config import SIZES, Fusion, Model
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.stream import StreamSpec, TokenStream
from mmvideo.training.config import Training
from mmvideo.training.state import AbstractTrainState, init_abstract
from mmvideo.training.step import make_step

LOOP, GROWTH = 1.05, 1.3
"""Largest ratios: loop time to bare step time, and compile time of 48 layers to that of 12."""

DEPTHS = (12, 48)

SETTLED = 3
"""Uncounted steps at the start of a block: the device is idle, or still runs the other block."""

CASE = Case("tiny", "trimodal", "whole", "auto", "none", "scanned")
"""Experiment for rows and objectives; the size is chosen here."""


def model(size: str | None, depth: int | None = None) -> Model:
    """Return a model by its name, or a tiny one."""
    fusion = Fusion("mid", layer=1, text="causal")
    if size is not None:
        return Model(size=size, depth=depth, fusion=fusion)
    return Model(depth=depth or 2, width=64, heads=2, feed_forward=128, fusion=fusion)


def short_spec() -> StreamSpec:
    """Return small clips, with a small vocabulary so that it does not dominate a tiny model's step."""
    small = spec(small=True)
    return dataclasses.replace(small, text=dataclasses.replace(small.text, vocabulary=1000))


class Interleaved:
    """Batches of a run that time blocks of its steps, and between them blocks of the step alone.

    Attributes:
      pairs: seconds per step of the loop and of the bare step, block by block.
      skipped: always empty.
    """

    def __init__(self, stream: TokenStream, bare: Callable[[int], np.ndarray], block: int):
        self._stream, self._bare, self._block = stream, bare, block
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self.skipped: list[tuple[str, str]] = []

    def iterate(self, start: int, stop: int) -> Iterator[tuple[int, TokenStream]]:
        """Yield the same batch repeatedly."""
        length, began = self._block + SETTLED, now()
        for step in range(start, stop):
            within = step % length
            if within == 0 and step:
                taken = (now() - began) / self._block
                self.pairs.append((taken, self._bare(self._block)))
            if within == SETTLED:
                began = now()
            yield step, self._stream

    def assets(self) -> dict[str, Any]:
        """Return no assets."""
        return {}


def now() -> np.ndarray:
    """Return wall seconds, and processor seconds of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def bare_step(plan: AbstractTrainState, training: Training, stream: TokenStream) -> Callable[[int], np.ndarray]:
    """Return `(steps) -> seconds per step` for the step alone, on its own state."""
    places = jax.tree.map(lambda leaf: leaf.sharding, plan.abstract)
    program, box = make_step(plan.graphdef, training, places), [plan.create()]

    def steps(count: int) -> None:
        for _ in range(count):
            box[0], metrics = program(box[0], stream)
        jax.block_until_ready((box[0], metrics))

    def run(count: int) -> np.ndarray:
        steps(SETTLED)
        began = now()
        steps(count)
        return (now() - began) / count

    run(1)
    return run


def measure_loop(size: str | None, batch: int, blocks: int, block: int) -> dict[str, Any]:
    """Return seconds per step within the loop and alone, and their ratio, in wall and processor time."""
    from mmvideo.training.loop import train

    streams, mesh = short_spec(), make_mesh(Mesh())
    training = Training(steps=(blocks + 1) * (block + SETTLED) + 1, save_every=10**9)
    made = make_batch(CASE, batch, streams)

    def learner(rngs: nnx.Rngs) -> Learner:
        return Learner(model(size), streams, objectives(CASE), rngs=rngs)

    with jax.set_mesh(mesh):
        bare = bare_step(init_abstract(learner, training, mesh), training, jax.device_put(made))
    batches = Interleaved(made, bare, block)
    with tempfile.TemporaryDirectory() as folder:
        train(
            learner, batches, jax.device_put, training, mesh, Path(folder) / "run",
            config_json="{}", on_progress=lambda row: None,
        )  # fmt: skip
    pairs = np.array(batches.pairs[1:])  # The first block compiles.
    found: dict[str, Any] = {"steps": block, "blocks": len(pairs)}
    for place, kind in enumerate(("clock", "processor")):
        loop, bare = np.median(pairs[:, :, place], axis=0).tolist()
        ratio = float(np.median(pairs[:, 0, place] / pairs[:, 1, place]))
        found[kind] = {"loop_seconds": loop, "bare_seconds": bare, "ratio": ratio}
    found["ratio"] = found["processor" if jax.default_backend() == "cpu" else "clock"]["ratio"]
    return found


def measure_depth(size: str | None, batch: int, rounds: int) -> dict[str, Any]:
    """Return seconds to trace and compile each depth, and the ratio of the deepest to the first."""
    streams, mesh, training = short_spec(), make_mesh(Mesh()), Training()
    made = make_batch(CASE, batch, streams)

    def seconds(depth: int) -> float:
        def learner(rngs: nnx.Rngs) -> Learner:
            return Learner(model(size, depth), streams, objectives(CASE), rngs=rngs)

        jax.clear_caches()
        with jax.set_mesh(mesh):
            plan = init_abstract(learner, training, mesh)
            began = time.perf_counter()
            make_step(plan.graphdef, training).lower(plan.abstract, made).compile()
            return time.perf_counter() - began

    seconds(2)
    taken = [[seconds(depth) for depth in DEPTHS] for _ in range(rounds)]
    best = {depth: min(times) for depth, times in zip(DEPTHS, zip(*taken, strict=True), strict=True)}
    return {"seconds": best, "ratio": best[DEPTHS[-1]] / best[DEPTHS[0]]}


def main() -> int:
    """Measure the requested parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["loop", "depth"], choices=["loop", "depth"])
    parser.add_argument("--size", choices=SIZES, help="size of the model (default: two layers of width 64)")
    parser.add_argument("--batch", type=int, default=2, help="clips in a step")
    parser.add_argument("--blocks", type=int, default=12, help="number of blocks of each kind")
    parser.add_argument("--block", type=int, default=12, help="steps in a block")
    parser.add_argument("--rounds", type=int, default=2, help="compilations of each depth")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}"
    print(f"{device}; {options.batch} clips a step")
    found: dict[str, Any] = {"bench": "loop", "device": device, "date": time.strftime("%Y-%m-%d")}
    good = True
    if "loop" in options.parts:
        found["loop"] = loop = measure_loop(options.size, options.batch, options.blocks, options.block)
        for kind in ("clock", "processor"):
            taken = loop[kind]
            times = (
                f"{1e3 * taken['loop_seconds']:.2f} ms a step in the loop, {1e3 * taken['bare_seconds']:.2f} ms alone"
            )
            print(f"loop    {kind}: {times}, {taken['ratio']:.3f} times", flush=True)
        print(f"loop    {loop['ratio']:.3f} times (at most {LOOP})", flush=True)
        good &= loop["ratio"] <= LOOP
    if "depth" in options.parts:
        found["depth"] = depth = measure_depth(options.size, options.batch, options.rounds)
        times = ", ".join(f"{layers} layers {seconds:.1f} s" for layers, seconds in depth["seconds"].items())
        print(f"depth   {times}: {depth['ratio']:.2f} times (less than {GROWTH})", flush=True)
        good &= depth["ratio"] < GROWTH
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
