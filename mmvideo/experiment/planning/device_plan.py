"""The launch of a run on devices that are not at hand: what one of them holds, what fits, how long a step takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mmvideo.cost_model.collectives import expected_traffic
from mmvideo.cost_model.compile_targets import target
from mmvideo.cost_model.devices import USABLE, Device
from mmvideo.cost_model.memory import Memory, shard_factor
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import BatchOutline, abstract_stream
from mmvideo.experiment.planning.abstract_model import abstract_learner, for_memory, sketched
from mmvideo.experiment.planning.host_cpu import cpu_seconds_per_clip
from mmvideo.experiment.planning.plan import Plan, clip_flops, plan
from mmvideo.experiment.planning.step_memory import step_memory
from mmvideo.experiment.planning.xla_compile import Compiled, compile_in_subprocess
from mmvideo.model.config import Model
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import AXES, axis_sizes

MEASURED = {("h100", "B"): 0.238, ("h100", "L"): 0.267}
"""MFU by device and size, on real tokens: `experiments/benchmarks/README.md`, tri-modal, no remat."""

ASSUMED = 0.25
"""MFU where none was measured: about what was on an H100."""

TWICE = {"full": 11 / 9, "attention": 10 / 9}
"""What a step takes with a remat policy relative to one without, by its products with weights
(`model/layers/remat.py`). What `dots` and `full` repeat of attention is not in it; `dots` was measured to be as fast as
none."""


@dataclasses.dataclass(frozen=True)
class DevicePlan:
    """What a run needs of each device, and how fast it may go.

    Attributes:
      device, devices: what runs it.
      sizes: devices along each axis of the mesh.
      refitted: whether the recipe's mesh did not fit the devices, so that this is another.
      plan: of the whole run.
      rows: that one device has of a batch.
      memory: bytes on one device, with those rows, as rehearsed.
      bytes: all of them: the rehearsed ones, or XLA's.
      bytes_per_row: bytes that one more row would take.
      compiled: whether the device's own compiler was asked for them.
      fits: the most rows that a device has room for; 0 if not even one.
      padding: share of token slots that are empty, if every clip were the largest.
      flops: model FLOPs of a step on real tokens, forward and backward, attention within its spans.
      mfu: model FLOP utilisation that the time is told from.
      source: where that comes from.
      seconds: of a step.
      cores: host cores that feed all devices.
      traffic: bytes that a device sends for parameters and gradients in a step, of the dtype that is computed in.
    """

    device: Device
    devices: int
    sizes: dict[str, int]
    refitted: bool
    plan: Plan
    rows: int
    memory: Memory
    bytes: int
    bytes_per_row: float
    compiled: bool
    fits: int
    padding: float
    flops: float
    mfu: float
    source: str
    seconds: float
    cores: float
    traffic: float

    @property
    def usable(self) -> int:
        """Bytes of a device that a plan fills."""
        return round(self.device.memory * USABLE)

    @property
    def grad_accum_steps(self) -> int:
        """Into how many parts the batch must be cut, gradients being added up, so that it fits; 0 if nothing does."""
        return math.ceil(self.rows / self.fits) if self.fits else 0

    @property
    def clips_per_second(self) -> float:
        """Of all devices."""
        return self.plan.run.clips / self.seconds


def fit_mesh(mesh: Mesh, devices: int) -> Mesh:
    """The mesh itself if it fits, else one whose axes are cut down to what divides the devices, `data` taking the rest.

    The axes keep as much as they can, the last one first, since it has the fastest links.
    """
    try:
        axis_sizes(mesh, devices)
    except ValueError:
        left, sizes = devices, {}
        for name in reversed(AXES[1:]):
            sizes[name] = math.gcd(max(getattr(mesh, name), 1), left)
            left //= sizes[name]
        return dataclasses.replace(mesh, data=-1, **sizes)
    return mesh


def plan_devices(
    experiment: Experiment, device: Device, devices: int, mesh: Mesh | None = None, mfu: float | None = None
) -> DevicePlan:
    """Plans a launch without its corpus and without a device of its kind.

    Args:
      experiment: the settings.
      device: what it runs on.
      devices: how many.
      mesh: None takes the experiment's, cut down where it doesn't fit.
      mfu: None takes what was measured, or an assumption.

    Raises:
      ValueError: settings that cannot work, or a given mesh that doesn't fit.
    """
    used = fit_mesh(experiment.mesh, devices) if mesh is None else mesh
    refitted = mesh is None and used != experiment.mesh
    sizes = dict(zip(AXES, axis_sizes(used, devices), strict=True))
    experiment = dataclasses.replace(experiment, mesh=used)
    sketch = sketched(experiment)
    found = plan(experiment, devices)
    rows = -(-experiment.input.packing.rows // shard_factor("batch", sizes))
    each, usable = _bytes_of_a_row(experiment, sketch, found.memory, rows, sizes), round(device.memory * USABLE)
    flops = found.run.clips * clip_flops(experiment)
    mfu, source, seconds = step_time(experiment, device, devices, flops, mfu)
    return DevicePlan(
        device=device,
        devices=devices,
        sizes=sizes,
        refitted=refitted,
        plan=found,
        rows=rows,
        memory=found.memory,
        bytes=found.memory.total,
        bytes_per_row=each,
        compiled=False,
        fits=_fits(rows, usable - found.memory.total, each),
        padding=1 - found.run.tokens / found.run.slots,
        flops=flops,
        mfu=mfu,
        source=source,
        seconds=seconds,
        cores=found.run.clips / seconds * cpu_seconds_per_clip(experiment.input),
        traffic=expected_traffic(found.memory.parameters, found.memory.gradients, sizes) * _narrowed(experiment),
    )


def own_compiler(launch: DevicePlan) -> bool:
    """Whether the devices' own compiler is installed, and knows so many of them."""
    try:
        return target(launch.device, launch.devices) is not None
    except ValueError:
        return False


def compile_launch(experiment: Experiment, launch: DevicePlan) -> tuple[DevicePlan, Compiled]:
    """A step of the launch as XLA compiles it, beside the launch with the rows that were compiled.

    Those are as many as fit, if the recipe's don't.

    Raises:
      ValueError: the program does not compile.
    """
    mesh = Mesh(**launch.sizes)
    rows = max(min(launch.rows, launch.fits), 1) * shard_factor("batch", launch.sizes)
    packing = dataclasses.replace(experiment.input.packing, rows=rows)
    smaller = dataclasses.replace(experiment, mesh=mesh, input=dataclasses.replace(experiment.input, packing=packing))
    found = compile_in_subprocess(smaller, launch.devices, target(launch.device, launch.devices))
    if rows == launch.plan.run.rows:
        return launch, found
    return plan_devices(smaller, launch.device, launch.devices, mesh, launch.mfu), found


def with_compiled_bytes(launch: DevicePlan, planned: DevicePlan, found: Compiled) -> DevicePlan:
    """The launch with XLA's bytes, and with the rows that fit by them, if they are those of the device's own compiler.

    Args:
      launch: as asked for.
      planned: the same with the rows that were compiled.
      found: what XLA says of them. Of other numbers of rows it is taken to say what the rehearsal does, in proportion.
    """
    if not found.own:
        return launch
    each = launch.bytes_per_row * found.scratch / (planned.memory.gradients + planned.memory.activations)
    return dataclasses.replace(
        launch,
        bytes=found.total + round((launch.rows - planned.rows) * each),
        bytes_per_row=each,
        compiled=True,
        fits=_fits(planned.rows, launch.usable - found.total, each),
    )


def _fits(rows: int, left: int, each: float) -> int:
    """The most rows a device, where with some so many bytes are left."""
    return max(math.floor(rows + left / each), 0)


def _bytes_of_a_row(
    experiment: Experiment, sketch: BatchOutline, memory: Memory, rows: int, sizes: Mapping[str, int]
) -> float:
    """What rows take grows in proportion, so that two numbers of them tell."""
    other = 2 * rows if rows < 8 else rows // 2
    learner = abstract_learner(experiment, sketch.spec, for_memory(experiment.model))
    second = step_memory(experiment, learner, abstract_stream(sketch.shape, other), sizes)
    return (memory.total - second.total) / (rows - other)


def _narrowed(experiment: Experiment) -> float:
    """What parameters and their gradients are sent as, of float32: XLA's programs for GPUs cast them first."""
    return jnp.dtype(experiment.model.compute).itemsize / 4


def _utilisation(experiment: Experiment, device: Device) -> tuple[float, str]:
    """Of a step without remat it is known; one with it takes longer for the same model FLOPs."""
    size = experiment.model.size if isinstance(experiment.model, Model) else None
    if (device.name, size) in MEASURED:
        mfu, source = MEASURED[device.name, size], f"measured for {size} on {device.title}, experiments/benchmarks"
    else:
        mfu, source = ASSUMED, "assumed; not measured for this size and device (--mfu sets it)"
    again = TWICE.get(experiment.model.remat, 1.0) if isinstance(experiment.model, Model) else 1.0
    return mfu / again, f"{source}, less what remat computes again" if again > 1 else source


def step_time(
    experiment: Experiment, device: Device, devices: int, flops: float, mfu: float | None = None
) -> tuple[float, str, float]:
    """How fast a step of so many model FLOPs goes: MFU, where that comes from, and seconds, as of `plan_devices`."""
    mfu, source = _utilisation(experiment, device) if mfu is None else (mfu, "as asked for")
    return mfu, source, flops / (devices * device.flops * mfu)


def as_dict(launch: DevicePlan) -> dict[str, Any]:
    """The launch as plain values for JSON, without the plan of the run."""
    found = dataclasses.asdict(dataclasses.replace(launch, plan=None))
    del found["plan"]
    found["device"] = launch.device.name
    found["memory"]["total"] = launch.memory.total
    return found | {
        "usable": launch.usable,
        "grad_accum_steps": launch.grad_accum_steps,
        "clips_per_second": launch.clips_per_second,
    }
