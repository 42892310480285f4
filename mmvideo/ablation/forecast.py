"""What a tier will cost, told before it starts: runs, FLOPs, time, storage; from the plans of its cells."""

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
    """The cost of each run by its place; seeds cost the same, and what was planned before is read from the folder.

    Args:
      runs: settings by place.
      folder: of the tier.
      device, devices, most: what a run is on, where that is to be said, as in `Planner`.
      tell: hears how many runs are being planned.
    """
    path = None if folder is None else folder / "costs.json"
    known = {} if path is None else _read(path)
    where = "" if device is None else f"-{devices}-{most or devices}x{device.name}"
    keys = {place: _key(experiment) + where for place, experiment in runs.items()}
    new = {key: runs[place] for place, key in keys.items() if key not in known}
    planner = Planner(device, devices, most)
    for number, (key, experiment) in enumerate(new.items(), 1):
        tell(number, len(new))
        known[key] = planner.cost(experiment)
        if path is not None:
            # At once: a plan of many runs takes minutes, and whoever stops it goes on with what there is.
            write_whole(path, json.dumps({key: dataclasses.asdict(cost) for key, cost in known.items()}, indent=1))
    return {place: known[key] for place, key in keys.items()}


def _key(experiment: Experiment) -> str:
    """Equal for runs that cost the same for sure: all but their names and seeds is the same."""
    import hashlib

    plain = override(experiment, {"name": "", "training.seed": 0, "input.seed": 0, "input.keep": None})
    return hashlib.sha256(to_json(plain).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Cost]:
    if not path.is_file():
        return {}
    return {key: Cost(**cost) for key, cost in json.loads(path.read_text(encoding="utf-8")).items()}


@dataclasses.dataclass(frozen=True)
class CostForecast:
    """What all of it takes.

    Attributes:
      cells, runs: cells of the tables, and the runs they need: equal ones are run once.
      done: runs that are finished already.
      flops: of all runs.
      left: of those that are not finished.
      hours: on the devices of each, one run after the other; None where it isn't said what they are.
      device_hours: of single devices.
      storage: bytes of checkpoints and kept batches.
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
    """The sum of the costs.

    Args:
      cells: of the tables.
      runs: settings of what they need, by place; runs that they share are among them.
      costs: of each run.
      done: places of those that are finished.
    """
    inputs = {
        to_json(Experiment(name="", input=dataclasses.replace(run.input, keep=None))): costs[place].batch
        * costs[place].steps
        for place, run in runs.items()
        if run.input.keep
    }
    checkpoints = sum(costs[place].checkpoint * (run.training.keep or 1) for place, run in runs.items())
    hours = [costs[place].hours for place in runs]
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
