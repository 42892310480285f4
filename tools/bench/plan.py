"""Compare planned bytes of the pretraining recipes with XLA's for the same program.

COMMAND  python tools/bench/plan.py [--recipes videomae …] [--device h100] [--devices 1 64] [--rows 8] [--compile]
                                    [--json FILE]
COST     1 core, 10 seconds per recipe and number of devices; with --compile 10 to 60 seconds more each

Without --compile each line is a plan and its time. With --compile the device's own compiler, if installed, also
compiles the same step (`mmvideo/experiment/planning/xla_compile.py`); neither needs an accelerator. `arguments`
(parameters, optimiser, average, batch) must agree, and so must `all`: arguments, gradients and activations. Without the
device's compiler the step is compiled for as many CPU devices, for which XLA counts more work than for an accelerator,
because it computes bfloat16 in float32.

Exit code 1 if arguments, or all of an accelerator's bytes, differ by more than 5 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# A plan is the same with and without accelerators, so it does not use them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from mmvideo.cost_model.devices import device_named
from mmvideo.experiment.config import Experiment, load_experiment
from mmvideo.experiment.planning.device_plan import DevicePlan, as_dict, compile_launch, plan_devices

RECIPES = Path(__file__).parents[2] / "configs" / "pretrain"
NEAR = 0.05
"""Largest accepted relative difference."""


def compare(experiment: Experiment, launch: DevicePlan) -> dict[str, Any]:
    """Return the bytes of a launch beside XLA's."""
    planned, found = compile_launch(experiment, launch)
    memory = planned.memory
    return {
        "platform": found.platform,
        "own": found.own,
        "rows_a_device": planned.rows,
        "arguments": [memory.held, found.arguments],
        "work": [memory.gradients + memory.activations, found.scratch],
        "all": [memory.total, found.total],
        "collectives": [dataclasses.asdict(each) for each in found.collectives],
        "compile_seconds": found.seconds,
    }


def line(name: str, launch: DevicePlan, seconds: float, told: dict[str, Any] | None) -> str:
    """Return a plan with its ratio to XLA's bytes."""
    mesh = "x".join(str(size) for size in launch.sizes.values())
    cells = f"{name:20}{launch.devices:>4} {mesh:>9}{launch.rows:>7}{launch.memory.total / 2**30:>9.2f}{launch.fits:>7}"
    cells += f"{launch.seconds:>9.3f} s{seconds:>7.1f} s"
    if told is None:
        return cells
    cells += f"{told['rows_a_device']:>7}"
    for key in ("arguments", "work", "all"):
        ours, theirs = told[key]
        cells += f"{ours / 2**30:>8.2f}{theirs / 2**30:>7.2f}{ours / theirs:>6.3f}"
    return cells + f"{told['compile_seconds']:>6.0f} s"


def apart(told: dict[str, Any]) -> bool:
    """Return whether plan and compiler disagree."""
    keys = ("arguments", "all") if told["own"] else ("arguments",)
    return any(abs(told[key][0] / told[key][1] - 1) > NEAR for key in keys)


def main() -> int:
    """Plan and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=sorted(path.stem for path in RECIPES.glob("*.py")))
    parser.add_argument("--device", default="h100")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rows", type=int, help="rows per device, instead of the recipe's share")
    parser.add_argument("--compile", action="store_true", help="also compile with XLA")
    parser.add_argument("--json", type=Path, help="also append the results to this file, one object per line")
    options = parser.parse_args()
    device, chips = device_named(options.device)
    print("recipe, devices, mesh, rows a device, GiB planned, rows that fit, a step, time of the plan")
    print("then rows compiled; GiB of arguments, of work and of all: planned, XLA's and their ratio")
    wrong = 0
    for name in options.recipes:
        for devices in [chips] if chips else options.devices:
            experiment = load_experiment(RECIPES / f"{name}.py")
            if options.rows:
                packing = dataclasses.replace(experiment.input.packing, rows=options.rows * devices)
                fewer = dataclasses.replace(experiment.input, packing=packing)
                experiment = dataclasses.replace(experiment, input=fewer)
            began = time.perf_counter()
            launch = plan_devices(experiment, device, devices)
            seconds = time.perf_counter() - began
            told = compare(experiment, launch) if options.compile else None
            wrong += told is not None and apart(told)
            print(line(name, launch, seconds, told), flush=True)
            if options.json:
                known = {"recipe": name, "seconds": seconds, "planned": as_dict(launch)}
                with options.json.open("a") as file:
                    file.write(json.dumps(known | (told or {})) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
