"""Measure weak scaling over processes: clips per second of each process, for several numbers of processes.

COMMAND  python tools/bench/scaling.py [--processes 1 2] [--rows 4] [--steps 24] [--cores 1] [--json FILE]
COST     as many cores as processes, 2 minutes

Runs `mmvideo train` on the embedded sets, from files to updates, in 1, 2, … processes started by tools/launch/local.py;
every process prepares the same number of rows of each batch and has the same number of cores. Speed is the median over
the lines of `metrics.jsonl` without the first, which is still settling; it excludes compilation. The efficiency is a
process's clips per second relative to the smallest number of processes. On a CPU only ratios are meaningful, and only
on otherwise idle cores.

Across machines: start the same recipe with `--input.packing.rows` in proportion (tools/launch/train.sbatch), and pass
the workdirs with --runs 8=DIR 64=DIR; then nothing is run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import load_experiment, to_json

ROOT = Path(__file__).parents[2]


def run(processes: int, rows: int, steps: int, cores: int, devices: int | None, folder: Path) -> Path:
    """Train in this many processes, and return the workdir.

    Raises:
      RuntimeError: the run failed; the message has its output.
    """
    recipe = load_experiment(ROOT / "configs" / "quickstart" / "samples.py")
    packing = dataclasses.replace(recipe.input.packing, rows=rows * processes)
    optimizer = dataclasses.replace(recipe.training.optimizer, warmup=0)
    training = dataclasses.replace(
        recipe.training, steps=steps, optimizer=optimizer, log_every=4, save_every=10**9, tensorboard=False
    )
    experiment = dataclasses.replace(
        recipe,
        input=dataclasses.replace(recipe.input, packing=packing, threads=1),
        training=training,
        evaluation=Evaluation(tasks=()),
    )
    file, workdir = folder / f"{processes}.json", folder / str(processes)
    file.write_text(to_json(experiment))
    launcher = [
        sys.executable,
        str(ROOT / "tools" / "launch" / "local.py"),
        "-n",
        str(processes),
        "--cores",
        str(cores),
    ]
    launcher += [] if devices is None else ["--devices", str(devices)]
    command = [sys.executable, "-m", "mmvideo.cli.main", "train", str(file), "--workdir", str(workdir)]
    done = subprocess.run(
        [*launcher, "--", *command], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{processes} processes ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return workdir


def speed(workdir: Path) -> dict[str, float]:
    """Return clips and tokens per second of all processes of a run.

    Raises:
      ValueError: fewer than two lines of training.
    """
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "examples_per_second" in line][1:]
    if not lines:
        raise ValueError(f"{workdir}/metrics.jsonl has fewer than two lines of training: run more steps")
    names = {"clips_per_second": "examples_per_second", "tokens_per_second": "tokens_per_second"}
    return {name: statistics.median(line[key] for line in lines) for name, key in names.items()}


def table(speeds: dict[int, dict[str, float]]) -> list[dict[str, float]]:
    """Return a row for each number of processes, with the efficiency relative to the first."""
    first, rows = min(speeds), []
    for count in sorted(speeds):
        found = {"processes": count} | speeds[count]
        for name in ("clips", "tokens"):
            own, base = (speeds[n][f"{name}_per_second"] / n for n in (count, first))
            found[f"{name}_per_second_per_process"] = own
            found[f"{name}_efficiency"] = own / base
        rows.append(found)
    return rows


def main() -> int:
    """Run every number of processes, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--rows", type=int, default=4, help="rows of a batch that each process prepares")
    parser.add_argument("--steps", type=int, default=24, help="steps of each run")
    parser.add_argument("--cores", type=int, default=1, help="cores of each process")
    parser.add_argument("--devices", type=int, default=1, help="fake CPU devices of each; 0: what JAX finds")
    parser.add_argument("--runs", nargs="+", default=[], help="N=WORKDIR of finished runs, instead of running any")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    if options.runs:
        pairs = (text.partition("=") for text in options.runs)
        speeds = {int(count): speed(Path(folder)) for count, _, folder in pairs}
    else:
        speeds = {}
        with tempfile.TemporaryDirectory() as folder:
            for count in options.processes:
                settings = (options.rows, options.steps, options.cores, options.devices or None)
                speeds[count] = speed(run(count, *settings, Path(folder)))
    rows = table(speeds)
    columns = [f"{name}_per_second{each}" for name in ("clips", "tokens") for each in ("", "_per_process")]
    columns = [*columns[:2], "clips_efficiency", *columns[2:], "tokens_efficiency"]
    heads = ("processes", "clips/s", "each", "efficiency", "tokens/s", "each", "efficiency")
    print("".join(f"{head:>12}" for head in heads))
    for found in rows:
        print(f"{found['processes']:>12}" + "".join(f"{found[column]:>12.2f}" for column in columns))
    if options.json:
        line = {"bench": "scaling", "cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d"), "rows": rows}
        options.json.write_text(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
