"""What one run costs: FLOPs, bytes and time; many of them told from as few traces of their programs as will do.

Most cells of a suite differ in what no program shows: weights of losses, rates, steps and seeds; others in their rows
alone. What has been traced once is not traced again.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

from mmvideo.cost_model.devices import USABLE, Device
from mmvideo.cost_model.memory import Memory, shard_factor
from mmvideo.cost_model.parameter_counts import count_parameters
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import BatchOutline, abstract_stream
from mmvideo.experiment.planning.abstract_model import AbstractModel, abstract_learner, for_memory, sketched
from mmvideo.experiment.planning.device_plan import fit_mesh, step_time
from mmvideo.experiment.planning.plan import batch_flops, clip_flops, mesh_sizes
from mmvideo.experiment.planning.step_memory import held_bytes, step_memory, update_bytes


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
      hours: on its devices; None where it isn't said what they are, as in all below.
      seconds: of a step.
      rows: of a batch that one device has.
      grad_accum_steps: into how many parts the batch must be cut, gradients being added up, so that it fits; 0 if
        nothing does.
      devices: that the run has.
    """

    steps: int
    flops: float
    parameters: int
    bytes: int
    checkpoint: int
    batch: int
    hours: float | None = None
    seconds: float | None = None
    rows: int | None = None
    grad_accum_steps: int | None = None
    devices: int | None = None


def cost_of(experiment: Experiment, device: Device | None = None, devices: int = 1) -> Cost:
    """The cost of a run, on devices or without saying where.

    Raises:
      ValueError: settings that cannot work.
    """
    return Planner(device, devices).cost(experiment)


class Planner:
    """Tells costs, the numbers of `plan` and `plan_launch`.

    Args:
      device: what the runs are on; None does not say where.
      devices: how many of them a run has.
      most: how many a run may have whose batch doesn't fit them; None is no more.
    """

    def __init__(self, device: Device | None = None, devices: int = 1, most: int | None = None):
        self._device, self._devices, self._most = device, devices, most or devices
        self._known: dict[Hashable, Any] = {}

    def cost(self, experiment: Experiment) -> Cost:
        """The cost of a run, on as many times the devices as its batch needs; raises as `cost_of` does.

        Where not one row fits even then, more devices are of no use, and it keeps those that it was to have.
        """
        first = cost = self._cost_on(experiment, self._devices)
        while (times := self._missing(cost)) > 1:
            cost = self._cost_on(experiment, cost.devices * times)
        return first if cost.grad_accum_steps == 0 else cost

    def _missing(self, cost: Cost) -> int:
        """How many times its devices would hold the rows of a run: a power of two that shares them out evenly."""
        if cost.grad_accum_steps in (None, 1):
            return 1
        wanted = 2 ** max(cost.grad_accum_steps - 1, 1).bit_length()
        evenly = cost.rows & -cost.rows
        room = self._most // cost.devices
        return min(wanted, evenly, 2 ** (room.bit_length() - 1) if room else 1)

    def _cost_on(self, experiment: Experiment, devices: int) -> Cost:
        if self._device is not None:
            experiment = dataclasses.replace(experiment, mesh=fit_mesh(experiment.mesh, devices))
        sizes = mesh_sizes(experiment, None if self._device is None else devices)
        program = _Program(experiment, sketched(experiment), sizes, self._once)
        memory, steps = program.memory, experiment.training.steps
        cost = Cost(
            steps=steps,
            flops=float(steps * program.flops),
            parameters=program.parameters,
            bytes=memory.total,
            checkpoint=program.checkpoint,
            batch=memory.batch * shard_factor("batch", sizes),
        )
        return cost if self._device is None else self._timed(cost, program, self._device, devices)

    def _timed(self, cost: Cost, program: _Program, device: Device, devices: int) -> Cost:
        clips = program.experiment.input.packing.rows * program.sketch.clips
        *_, seconds = step_time(program.experiment, device, devices, clips * program.clip_flops)
        usable, rows = round(device.memory * USABLE), program.rows
        fits = rows if cost.bytes <= usable else program.rows_that_fit(usable)
        return dataclasses.replace(
            cost,
            hours=cost.steps * seconds / 3600,
            seconds=seconds,
            rows=rows,
            grad_accum_steps=math.ceil(rows / fits) if fits else 0,
            devices=devices,
        )

    def _once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


class _Program:
    """The program of a run's step, of which runs that differ in constants alone have the same."""

    def __init__(
        self,
        experiment: Experiment,
        sketch: BatchOutline,
        sizes: dict[str, int],
        once: Callable[[Hashable, Callable[[], Any]], Any],
    ):
        self.experiment, self.sketch = experiment, sketch
        self.rows = -(-experiment.input.packing.rows // shard_factor("batch", sizes))
        self._sizes = sizes
        training = experiment.training
        plain = {name: _without_constants(one) for name, one in experiment.objectives.items()}
        learner = repr((sketch.spec, experiment.model, plain, training.tune, training.averages))
        update = repr(dataclasses.replace(training.optimizer, learning_rate=1.0, warmup=0))
        self._once = lambda part, compute: once((learner, *part), compute)
        self._shape, self._update = repr(sketch.shape), update

    @property
    def parameters(self) -> int:
        """Of the learner."""
        return self._once(("parameters",), lambda: sum(count_parameters(self._learner.params).values()))

    @property
    def flops(self) -> int:
        """Of a step, attention dense."""
        key = ("flops", self._shape, self.experiment.input.packing.rows)
        return self._once(key, functools.partial(batch_flops, self.experiment, self.sketch))

    @property
    def clip_flops(self) -> float:
        """Model FLOPs of a clip."""
        key = ("clip", repr(self.sketch.single), repr(self.sketch.need))
        return self._once(key, functools.partial(clip_flops, self.experiment))

    @property
    def checkpoint(self) -> int:
        """Bytes of one, which holds each array once, however many devices have it."""

        def compute() -> int:
            return sum(held_bytes(self.experiment, self._learner, dict.fromkeys(self._sizes, 1)))

        return self._once(("checkpoint", self._update), compute)

    @property
    def memory(self) -> Memory:
        """Of a device."""
        return self._memory_with(self.rows)

    def rows_that_fit(self, usable: int) -> int:
        """The most rows of a device that has so many bytes: what they take grows in proportion, so that two tell."""
        rows, total = self.rows, self.memory.total
        other = 2 * rows if rows < 8 else rows // 2
        each = (total - self._memory_with(other).total) / (rows - other)
        return max(math.floor(rows + (usable - total) / each), 0)

    def _memory_with(self, rows: int) -> Memory:
        def compute() -> Memory:
            own = abstract_stream(self.sketch.shape, rows)
            return step_memory(self.experiment, self._learner, own, self._sizes, self._update_bytes)

        return self._once(("memory", self._shape, self._update, rows, *self._sizes.items()), compute)

    @property
    def _update_bytes(self) -> int:
        key = ("update", self._update)
        return self._once(key, lambda: update_bytes(self.experiment, self._learner))

    @property
    def _learner(self) -> AbstractModel:
        model = for_memory(self.experiment.model)
        return self._once(("learner",), lambda: abstract_learner(self.experiment, self.sketch.spec, model))


def _without_constants(objective: Any) -> list[tuple[str, Any]]:
    """Fields of an objective whose numbers with a point are 1, unless they are 0, which leaves a part out."""
    fields = dataclasses.asdict(objective) | {"of": type(objective).__name__}
    return sorted((name, 1.0 if isinstance(value, float) and value else value) for name, value in fields.items())
