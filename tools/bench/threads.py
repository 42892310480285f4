"""Measure the best number of threads to prepare rows: the loader alone, and beside the steps of a recipe.

COMMAND  python tools/bench/threads.py [--recipe configs/quickstart/shapes.py] [--size 64] [--threads 1 2 4 8]
COST     2 cores, 5 minutes

alone    One epoch of the recipe's batches with no other work: clips per second of wall time, and processor seconds per
         clip, which grow if threads spend their time on passing Python's lock.
beside   Training steps of the recipe, each of which waits for its batch: steps per second, and the share of time spent
         waiting.

Decoding of large frames runs in parallel; the work on clips of 64 pixels is in Python, whose lock only one thread holds
at a time. `--size` generates sounding shapes of that height and width.

Numbers of threads take turns within a round, and the median over the rounds counts. Ratios are to one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mmvideo.experiment.build_learner import make_learner
from mmvideo.experiment.config import Experiment, load_experiment
from mmvideo.input.pipeline import Batches
from mmvideo.parallel.mesh import make_mesh
from mmvideo.training.state import init_abstract
from mmvideo.training.step import make_step

ROOT = Path(__file__).parents[2]

Measured = dict[str, float]


def opened(experiment: Experiment, threads: int) -> Batches:
    """Return the training batches of a recipe, prepared by this many threads."""
    batches = Batches(dataclasses.replace(experiment.input, threads=threads))
    next(iter(batches.iterate(0, 1)))
    return batches


def alone(batches: Batches, turn: int) -> Measured:
    """Return clips per second, and processor seconds per clip, over one epoch."""
    count, clips = batches.steps_per_epoch, 0
    clock, processor = time.perf_counter(), time.process_time()
    for _, stream in batches.iterate(turn * count, (turn + 1) * count):
        clips += int((stream.clips.clip_index >= 0).sum())
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return {"per_second": clips / clock, "processor": processor / clips}


def beside(experiment: Experiment, batches: Batches, steps: int) -> Callable[[Batches, int], Measured]:
    """Return a function of batches and round that measures this many training steps."""
    training = dataclasses.replace(experiment.training, steps=10**6)
    plan = init_abstract(
        lambda rngs: make_learner(experiment, batches.spec, rngs), training, make_mesh(experiment.mesh)
    )
    program, box = make_step(plan.graphdef, training), [plan.create()]

    def run(found: Batches, turn: int) -> Measured:
        waited, before = 0.0, None
        began = mark = time.perf_counter()
        for _, stream in found.iterate(turn * steps, (turn + 1) * steps):
            waited += time.perf_counter() - mark
            box[0], metrics = program(box[0], jax.device_put(stream))
            if before is not None:
                jax.device_get(before)  # As in the loop of a run, one step runs while the next is prepared.
            before, mark = metrics, time.perf_counter()
        jax.block_until_ready(box[0])
        seconds = time.perf_counter() - began
        return {"per_second": steps / seconds, "waiting": waited / seconds}

    run(batches, 0)
    return run


def compare(found: dict[int, Batches], measure: Callable[[Batches, int], Measured], rounds: int) -> dict[int, Measured]:
    """Return medians over the rounds for each number of threads, which take turns."""
    taken: dict[int, list[Measured]] = {threads: [] for threads in found}
    for turn in range(rounds):
        for threads, batches in found.items():
            taken[threads].append(measure(batches, turn + 1))
    medians = {
        threads: {name: statistics.median(one[name] for one in each) for name in each[0]}
        for threads, each in taken.items()
    }
    first = medians[min(medians)]["per_second"]
    return {threads: values | {"ratio": values["per_second"] / first} for threads, values in medians.items()}


def main() -> int:
    """Measure both, and print a line for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "configs" / "quickstart" / "shapes.py"
    parser.add_argument("--recipe", type=Path, default=default, help="recipe whose input and steps are measured")
    parser.add_argument("--corpus", help="corpus to read (default: generate shapes)")
    parser.add_argument("--size", type=int, default=64, help="height and width of generated shapes")
    parser.add_argument("--clips", type=int, default=48, help="generated shapes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each")
    parser.add_argument("--steps", type=int, default=16, help="training steps of each round")
    parser.add_argument("--parts", nargs="+", default=["alone", "beside"], choices=["alone", "beside"])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or _shapes(Path(folder), options.size, options.clips)
        return _measure(options, corpus)


def _shapes(folder: Path, size: int, clips: int) -> str:
    """Generate a corpus."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    write_shapes(folder / "clips", ShapesConfig(size=size), splits={"train": clips}, progress=False)
    build(folder / "clips", folder / "corpus", progress=False, tokenizer_vocabulary=200)
    return str(folder / "corpus")


def _measure(options: argparse.Namespace, corpus: str) -> int:
    """Measure the requested parts."""
    experiment = load_experiment(options.recipe)
    source = dataclasses.replace(experiment.input.sources[0], path=corpus)
    experiment = dataclasses.replace(experiment, input=dataclasses.replace(experiment.input, sources=(source,)))
    cores, date = len(os.sched_getaffinity(0)), time.strftime("%Y-%m-%d")
    what = options.corpus or f"shapes of {options.size} pixels"
    print(f"{options.recipe.name} on {what}, {cores} cores, {jax.devices()[0].device_kind}, {date}")
    found = {threads: opened(experiment, threads) for threads in sorted(options.threads)}
    result: dict[str, Any] = {
        "bench": "threads",
        "recipe": options.recipe.name,
        "clips": what,
        "cores": cores,
        "date": date,
    }
    for part in options.parts:
        with jax.set_mesh(make_mesh(experiment.mesh)):
            measure = alone if part == "alone" else beside(experiment, found[min(found)], options.steps)
            result[part] = compare(found, measure, options.rounds)
        for threads, values in result[part].items():
            figures = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            print(f"{part:<8}{threads:>3} threads  {figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
