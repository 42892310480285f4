"""The cost of a run: FLOPs, bytes and time, from as few traces of programs as possible.

Most cells of a suite differ in values that no program depends on: loss weights, learning rates, steps and seeds; others
differ only in their rows. Each distinct program is traced once.
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
    """The cost of one run.

    Attributes:
      steps: training steps.
      flops: training FLOPs, forward and backward, attention counted as dense.
      parameters: parameters of the learner.
      bytes: planned memory of one device.
      checkpoint: bytes of one checkpoint.
      batch: bytes of a global batch.
      hours: training time on its devices; None where no device was named, as in all fields below.
      seconds: time of a step.
      rows: rows of a batch on one device.
      grad_accum_steps: smallest number of accumulated micro-batches that fits the memory; 0 if not even one row fits.
      devices: number of devices of the run.
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
    """Return the cost of a run, on the named devices or without any.

    Raises:
      ValueError: settings that cannot work.
    """
    return Planner(device, devices).cost(experiment)


class Planner:
    """A planner of many runs that shares traces between them; its figures are those of `plan` and `plan_launch`.

    Args:
      device: device of the runs; None plans no time.
      devices: devices of a run.
      most: largest number of devices for a run whose batch does not fit `devices`; None allows no more than those.
    """

    def __init__(self, device: Device | None = None, devices: int = 1, most: int | None = None):
        self._device, self._devices, self._most = device, devices, most or devices
        self._known: dict[Hashable, Any] = {}

    def cost(self, experiment: Experiment) -> Cost:
        """Return the cost of a run, on as many multiples of the devices as its batch needs.

        Where not even one row fits, more devices do not help, and the run keeps the requested number.

        Raises:
          ValueError: settings that cannot work.
        """
        # Repeated, since the factor is a linear estimate, and more devices may share the parameters too.
        first = cost = self._cost_on(experiment, self._devices)
        while (times := self._missing(cost)) > 1:
            cost = self._cost_on(experiment, cost.devices * times)
        return first if cost.grad_accum_steps == 0 else cost

    def _missing(self, cost: Cost) -> int:
        """Return the factor of devices that would hold a run's rows: a power of two that divides its rows evenly."""
        if cost.grad_accum_steps in (None, 1):
            return 1
        # 3 accumulation steps want 4 times the devices; 24 rows can be halved 3 times (24 & -24 = 8); with at most 16
        # devices and 8 in use only 2 times as many are left. min(4, 8, 2) = 2. Zero steps (nothing fits) try 2.
        wanted = 2 ** max(cost.grad_accum_steps - 1, 1).bit_length()
        evenly = cost.rows & -cost.rows
        room = self._most // cost.devices
        return min(wanted, evenly, 2 ** (room.bit_length() - 1) if room else 1)

    def _cost_on(self, experiment: Experiment, devices: int) -> Cost:
        """Return the cost on a fixed number of devices."""
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
        """Add time, rows and accumulation steps to a cost."""
        # Model FLOPs of the whole batch: all rows, not those of one device.
        clips = program.experiment.input.packing.rows * program.sketch.clips
        *_, seconds = step_time(program.experiment, device, devices, clips * program.clip_flops)
        usable, rows = round(device.memory * USABLE), program.rows
        # The second trace of rows_that_fit is only made where the planned rows do not fit.
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
        """Return a value that is computed once per key."""
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


class _Program:
    """The traced program of a run's step; runs that differ only in constants share it."""

    def __init__(
        self,
        experiment: Experiment,
        sketch: BatchOutline,
        sizes: dict[str, int],
        once: Callable[[Hashable, Callable[[], Any]], Any],
    ):
        self.experiment, self.sketch = experiment, sketch
        # Rounded up: of 10 rows over 4 devices, the fullest device has 3.
        self.rows = -(-experiment.input.packing.rows // shard_factor("batch", sizes))
        self._sizes = sizes
        training = experiment.training
        # The keys hold what a trace depends on. Runs with weights 0.5 and 0.3 share one; a weight of 0 removes the loss
        # from the program and so has its own. The optimizer adds state by its kind, not by its rate or warm-up.
        plain = {name: _without_constants(one) for name, one in experiment.objectives.items()}
        learner = repr((sketch.spec, experiment.model, plain, training.tune, training.averages))
        update = repr(dataclasses.replace(training.optimizer, learning_rate=1.0, warmup=0))
        self._once = lambda part, compute: once((learner, *part), compute)
        self._shape, self._update = repr(sketch.shape), update

    @property
    def parameters(self) -> int:
        """Parameters of the learner."""
        return self._once(("parameters",), lambda: sum(count_parameters(self._learner.params).values()))

    @property
    def flops(self) -> int:
        """FLOPs of a step, attention counted as dense."""
        key = ("flops", self._shape, self.experiment.input.packing.rows)
        return self._once(key, functools.partial(batch_flops, self.experiment, self.sketch))

    @property
    def clip_flops(self) -> float:
        """Model FLOPs of a clip."""
        key = ("clip", repr(self.sketch.single), repr(self.sketch.need))
        return self._once(key, functools.partial(clip_flops, self.experiment))

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint, which holds each array once, however many devices replicate it."""

        def compute() -> int:
            # Every mesh axis of size 1: the global arrays, undivided.
            return sum(held_bytes(self.experiment, self._learner, dict.fromkeys(self._sizes, 1)))

        return self._once(("checkpoint", self._update), compute)

    @property
    def memory(self) -> Memory:
        """Memory of one device."""
        return self._memory_with(self.rows)

    def rows_that_fit(self, usable: int) -> int:
        """Return the most rows of a device with this many bytes, by linear extrapolation from two row counts."""
        # 8 rows take 10 GiB and 4 rows 6 GiB, so a row takes 1 GiB; 14 GiB hold 8 + (14 - 10) / 1 = 12 rows.
        rows, total = self.rows, self.memory.total
        other = 2 * rows if rows < 8 else rows // 2
        each = (total - self._memory_with(other).total) / (rows - other)
        return max(math.floor(rows + (usable - total) / each), 0)

    def _memory_with(self, rows: int) -> Memory:
        def compute() -> Memory:
            own = abstract_stream(self.sketch.shape, rows)
            return step_memory(self.experiment, self._learner, own, self._sizes, self._update_bytes)

        # Mesh sizes are part of the key, since they decide how parameters and rows are divided.
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
    """Return the fields of an objective with every nonzero float set to 1; a 0 stays, since it removes a term."""
    fields = dataclasses.asdict(objective) | {"of": type(objective).__name__}
    return sorted((name, 1.0 if isinstance(value, float) and value else value) for name, value in fields.items())
