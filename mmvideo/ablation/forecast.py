"""The cost of a tier before it starts: runs, FLOPs, time and storage, from the plans of its cells."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmvideo.ablation.cells import Cell
from mmvideo.ablation.cost import Cost, Planner
from mmvideo.ablation.fields import override
from mmvideo.cost_model.devices import Device
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.records.whole import write_whole


def costs_of(
    runs: Mapping[str, Experiment],
    folder: Path | None = None,
    device: Device | None = None,
    devices: int = 1,
    most: int | None = None,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Cost]:
    """Return the cost of each run by its folder name; plans are read from and saved to the tier's folder.

    Args:
      runs: settings by run folder name.
      folder: folder of the tier; None saves nothing.
      device, devices, most: devices of a run, as in `Planner`; None plans no time.
      tell: callback with the index of the run that is planned, from 1, and the number of runs to plan.
    """
    path = None if folder is None else folder / "costs.json"
    known = {} if path is None else _read(path)
    where = "" if device is None else f"-{devices}-{most or devices}x{device.name}"
    # Seeds of one point have the same key, so three seeds need one plan. The key names the devices:
    # "1f3c…-8-64xh100" is a run on 8 H100, which may grow to 64.
    keys = {place: _key(experiment) + where for place, experiment in runs.items()}
    new = {key: runs[place] for place, key in keys.items() if key not in known}
    planner = Planner(device, devices, most)
    for number, (key, experiment) in enumerate(new.items(), 1):
        tell(number, len(new))
        known[key] = planner.cost(experiment)
        if path is not None:
            # After each plan: planning many runs takes minutes, and an interrupted call resumes from what is saved.
            write_whole(path, json.dumps({key: dataclasses.asdict(cost) for key, cost in known.items()}, indent=1))
    return {place: known[key] for place, key in keys.items()}


def _key(experiment: Experiment) -> str:
    """Return a digest that is equal for runs of equal cost: all settings but names and seeds agree."""
    import hashlib

    plain = override(experiment, {"name": "", "training.seed": 0, "input.seed": 0, "input.keep": None})
    return hashlib.sha256(to_json(plain).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Cost]:
    if not path.is_file():
        return {}
    return {key: Cost(**cost) for key, cost in json.loads(path.read_text(encoding="utf-8")).items()}


@dataclasses.dataclass(frozen=True)
class CostForecast:
    """The total cost of a tier.

    Attributes:
      cells, runs: cells of the tables, and the runs they need; equal cells share a run.
      done: number of finished runs.
      flops: FLOPs of all runs.
      left: FLOPs of the unfinished runs.
      hours: time of all runs, one after the other, each on its devices; None where no device was named.
      device_hours: hours times devices.
      storage: bytes of checkpoints and cached batches.
    """

    cells: int
    runs: int
    done: int
    flops: float
    left: float
    hours: float | None
    device_hours: float | None
    storage: int


def forecast_cost(
    cells: Sequence[Cell], runs: Mapping[str, Experiment], costs: Mapping[str, Cost], done: set[str]
) -> CostForecast:
    """Return the sum of the costs.

    Args:
      cells: cells of the tables.
      runs: settings of all runs by folder name, shared runs included.
      costs: cost of each run.
      done: folder names of the finished runs.
    """
    # Cells with equal input settings share one batch cache, so the dict counts it once: its key is the input, whatever
    # the model. A cache holds one file per step.
    inputs = {
        to_json(Experiment(name="", input=dataclasses.replace(run.input, keep=None))): costs[place].batch
        * costs[place].steps
        for place, run in runs.items()
        if run.input.keep
    }
    checkpoints = sum(costs[place].checkpoint * (run.training.keep or 1) for place, run in runs.items())
    hours = [costs[place].hours for place in runs]
    # An unknown time (None) stays unknown; 2 hours on 8 devices are 16 device hours.
    device_hours = [hours and hours * costs[place].devices for place, hours in zip(runs, hours, strict=True)]
    return CostForecast(
        cells=len(cells),
        runs=len(runs),
        done=len(done & runs.keys()),
        flops=sum(costs[place].flops for place in runs),
        left=sum(costs[place].flops for place in runs if place not in done),
        hours=None if None in hours else sum(hours),
        device_hours=None if None in hours else sum(device_hours),
        storage=checkpoints + sum(inputs.values()),
    )
