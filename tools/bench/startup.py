"""Time the stages from `mmvideo train` to the first step: cold, with kept programs, and resumed.

COMMAND  python tools/bench/startup.py [--recipe configs/quickstart/samples.py] [--rounds 1] [--json FILE]
COST     1 core, 2 minutes

| start | available at the start |
|---|---|
| cold | an empty folder for compiled programs (`JAX_COMPILATION_CACHE_DIR`) |
| warm | the programs of the cold start; another workdir |
| resumed | the programs, and the workdir of the warm start with the first of its two checkpoints |

The run has two steps, with a checkpoint after each; the seconds up to the first step of each start count. Stages:
`import` of Python and all libraries; `devices`, JAX's start; `open`, corpora and settings; `init`, creating or
restoring the state; `wait` for the first batch; `compile` and run the step. Rounds of the three alternate, and medians
count. Seconds hold for this machine; shares of the cold start and ratios to it transfer better.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import load_experiment, to_json

ROOT = Path(__file__).parents[2]

STAGES = ("import", "devices", "open", "init", "wait", "compile", "rest")

CHILD = """
import json, sys, time
import mmvideo.cli.train, mmvideo.experiment.run, mmvideo.cli.terminal.usage_errors, tyro
imported = time.time()
import jax
jax.devices()
started = time.time()
print(json.dumps([imported, started]), file=sys.stderr, flush=True)
from mmvideo.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""Program that runs `mmvideo` and writes two times; its imports are those of `mmvideo`'s first lines."""


def start(recipe: Path, workdir: Path, cache: Path) -> dict[str, float]:
    """Train, and return the seconds of each stage up to the end of the first step.

    Raises:
      RuntimeError: the run failed; the message has its output.
    """
    experiment = load_experiment(recipe)
    optimizer = dataclasses.replace(experiment.training.optimizer, warmup=0)
    training = dataclasses.replace(
        experiment.training, steps=2, optimizer=optimizer, log_every=1, save_every=1, tensorboard=False
    )
    file = cache.parent / "recipe.json"
    file.write_text(to_json(dataclasses.replace(experiment, training=training, evaluation=Evaluation(tasks=()))))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", CHILD, "train", str(file), "--workdir", str(workdir)]
    done_before = sum(1 for _ in (workdir / "checkpoints").glob("[0-9]*"))
    began = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"mmvideo train ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    imported, started = json.loads(next(line for line in done.stderr.splitlines() if line.startswith("[")))
    lines = [json.loads(line) for line in (workdir / "ledger.jsonl").read_text().splitlines()]
    first = next(line for line in lines if "wall" in line and line["to_step"] == done_before + 1 and line["at"] > began)
    stages = {"import": imported - began, "devices": started - imported, "open": first["at"] - first["wall"] - started}
    stages |= {name: first[name] for name in ("init", "wait", "compile")}
    return stages | {"rest": first["at"] - began - sum(stages.values())}


def measure(recipe: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each stage for each kind of start."""
    taken: dict[str, list[dict[str, float]]] = {"cold": [], "warm": [], "resumed": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            cache = folder / "cache"
            taken["cold"].append(start(recipe, folder / "cold", cache))
            taken["warm"].append(start(recipe, folder / "warm", cache))
            shutil.rmtree(folder / "warm" / "checkpoints" / "2")
            taken["resumed"].append(start(recipe, folder / "warm", cache))
    return {
        kind: {stage: statistics.median(found[stage] for found in times) for stage in STAGES}
        for kind, times in taken.items()
    }


def main() -> int:
    """Start in each way, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "configs" / "quickstart" / "samples.py"
    parser.add_argument("--recipe", type=Path, default=default, help="recipe to train")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds; the median counts")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    found = measure(options.recipe, options.rounds)
    cold = sum(found["cold"].values())
    print(f"{'seconds':<10}" + "".join(f"{stage:>10}" for stage in (*STAGES, "total", "to cold")))
    for kind, stages in found.items():
        total = sum(stages.values())
        cells = [f"{value:.1f}" for value in (*stages.values(), total)] + [f"{total / cold:.2f}"]
        print(f"{kind:<10}" + "".join(f"{cell:>10}" for cell in cells))
    shares = [f"{stages / cold:.0%}" for stages in found["cold"].values()]
    print(f"{'share':<10}" + "".join(f"{share:>10}" for share in shares))
    if options.json:
        line = {"bench": "startup", "recipe": options.recipe.name, "date": time.strftime("%Y-%m-%d"), "seconds": found}
        options.json.write_text(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
