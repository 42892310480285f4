"""What a tier will cost, told before it starts: runs, FLOPs, time, storage; from the plans of its cells."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmvideo.ablation.cells import Cell
from mmvideo.ablation.fields import with_fields
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.experiment.launch import plan_launch
from mmvideo.experiment.plan import plan
from mmvideo.planning.devices import Device
from mmvideo.training.files import write_whole


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run takes.

    Attributes:
      steps: of training.
      flops: of training, forward and backward, attention dense.
      parameters: of the learner.
      bytes: on one device, as planned.
      checkpoint: bytes of one checkpoint.
      batch: bytes of a batch.
      hours: on the devices that were asked for; None where none were.
    """

    steps: int
    flops: float
    parameters: int
    bytes: int
    checkpoint: int
    batch: int
    hours: float | None = None


def cost_of(experiment: Experiment, device: Device | None = None, devices: int = 1) -> Cost:
    """The cost of a run, on devices or without saying where.

    Raises:
      ValueError: settings that cannot work.
    """
    launch = None if device is None else plan_launch(experiment, device, devices)
    found = plan(experiment) if launch is None else launch.plan
    memory = found.memory
    state = memory.parameters + memory.optimizer + memory.average
    return Cost(
        steps=found.run.steps,
        flops=float(found.run.steps * found.run.flops),
        parameters=sum(found.parameters.values()),
        bytes=memory.total,
        checkpoint=state * found.devices,
        batch=memory.batch * found.devices,
        hours=None if launch is None else found.run.steps * launch.seconds / 3600,
    )


def costs_of(
    cells: Sequence[Cell],
    folder: Path | None = None,
    device: Device | None = None,
    devices: int = 1,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Cost]:
    """The cost of each run by its place; seeds cost the same, and what was planned before is read from the folder."""
    path = None if folder is None else folder / "costs.json"
    known = _read(path) if path is not None and device is None else {}
    keys = {cell.place: _key(cell.experiment) for cell in cells}
    new = {key: cell for cell in cells if (key := keys[cell.place]) not in known}
    for number, (key, cell) in enumerate(new.items(), 1):
        tell(number, len(new))
        known[key] = cost_of(cell.experiment, device, devices)
    if path is not None and device is None and new:
        write_whole(path, json.dumps({key: dataclasses.asdict(cost) for key, cost in known.items()}, indent=1))
    return {place: known[key] for place, key in keys.items()}


def _key(experiment: Experiment) -> str:
    """Equal for runs that cost the same for sure: all but their names and seeds is the same."""
    import hashlib

    plain = with_fields(experiment, {"name": "", "training.seed": 0, "input.seed": 0, "input.keep": None})
    return hashlib.sha256(to_json(plain).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Cost]:
    if not path.is_file():
        return {}
    return {key: Cost(**cost) for key, cost in json.loads(path.read_text(encoding="utf-8")).items()}


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What all of it takes.

    Attributes:
      cells, runs: cells of the tables, and the runs they need: equal ones are run once.
      done: runs that are finished already.
      flops: of all runs.
      left: of those that are not finished.
      hours: on the devices that were asked for, one run after the other; None where none were.
      storage: bytes of checkpoints and kept batches.
    """

    cells: int
    runs: int
    done: int
    flops: float
    left: float
    hours: float | None
    storage: int


def outlook(cells: Sequence[Cell], costs: Mapping[str, Cost], done: set[str]) -> Outlook:
    """The sum of the costs."""
    runs = {cell.place: cell.experiment for cell in cells}
    inputs = {
        to_json(Experiment(name="", input=dataclasses.replace(run.input, keep=None))): costs[place].batch
        * costs[place].steps
        for place, run in runs.items()
        if run.input.keep
    }
    checkpoints = sum(costs[place].checkpoint * (run.training.keep or 1) for place, run in runs.items())
    hours = [costs[place].hours for place in runs]
    return Outlook(
        cells=len(cells),
        runs=len(runs),
        done=len(done & runs.keys()),
        flops=sum(costs[place].flops for place in runs),
        left=sum(costs[place].flops for place in runs if place not in done),
        hours=None if None in hours else sum(hours),
        storage=checkpoints + sum(inputs.values()),
    )
