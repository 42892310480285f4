"""The plan of a run on devices that are not present: memory of a device, the rows that fit, and the time of a step."""

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
"""MFU on real tokens by device and model size: `experiments/benchmarks/README.md`, tri-modal, without remat."""

ASSUMED = 0.25
"""MFU where none was measured: about that of an H100."""

# Shares of the forward and backward products that are computed again: "full" two ninths, "attention" one ninth.
TWICE = {"full": 11 / 9, "attention": 10 / 9}
"""Relative cost of a step with a remat policy, by its products with weights (`model/layers/remat.py`).

Recomputed attention of `dots` and `full` is not included; `dots` was measured to be as fast as no remat.
"""


@dataclasses.dataclass(frozen=True)
class DevicePlan:
    """The needs of a run on each device, and its expected speed.

    Attributes:
      device, devices: kind and number of devices.
      sizes: devices along each axis of the mesh.
      refitted: whether the recipe's mesh did not fit the devices and was replaced.
      plan: plan of the run.
      rows: rows of a batch on one device.
      memory: bytes on one device with those rows, from abstract traces.
      bytes: their total, from traces or from XLA.
      bytes_per_row: bytes of one more row.
      compiled: whether `bytes` are from the device's own compiler.
      fits: most rows that fit one device; 0 if not even one.
      padding: fraction of empty token slots, if every clip were the largest.
      flops: model FLOPs of a step on real tokens, forward and backward, attention within its spans.
      mfu: model FLOP utilization, the basis of the time.
      source: source of that utilization.
      seconds: time of a step.
      cores: host cores that keep all devices supplied.
      traffic: bytes that a device sends for parameters and gradients in a step, in the compute dtype.
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
        """Number of micro-batches to accumulate so that a batch fits; 0 if not even one row fits."""
        return math.ceil(self.rows / self.fits) if self.fits else 0

    @property
    def clips_per_second(self) -> float:
        """Clips per second of all devices."""
        return self.plan.run.clips / self.seconds


def fit_mesh(mesh: Mesh, devices: int) -> Mesh:
    """Return the mesh if it fits the devices, else one with reduced axes and the rest of the devices on `data`.

    Axes keep as much as they can, from the last one on, since it has the fastest links.
    """
    try:
        axis_sizes(mesh, devices)
    except ValueError:
        # fsdp=8 on 12 devices: tensor 1 and context 1 leave 12, gcd(8, 12) = 4 for fsdp, and data takes the remaining
        # 3.
        left, sizes = devices, {}
        for name in reversed(AXES[1:]):
            sizes[name] = math.gcd(max(getattr(mesh, name), 1), left)
            left //= sizes[name]
        return dataclasses.replace(mesh, data=-1, **sizes)
    return mesh


def plan_devices(
    experiment: Experiment, device: Device, devices: int, mesh: Mesh | None = None, mfu: float | None = None
) -> DevicePlan:
    """Plan a run without its corpus and without a device of its kind.

    Args:
      experiment: the settings.
      device: kind of device.
      devices: number of devices.
      mesh: mesh; None is the experiment's, reduced where it does not fit.
      mfu: model FLOP utilization; None is a measured or assumed value.

    Raises:
      ValueError: settings that cannot work, or a given mesh that does not fit.
    """
    # A mesh that the user names is not changed: it fits, or raises.
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
        # 120 clips a second at 0.05 core seconds each need 6 cores.
        cores=found.run.clips / seconds * cpu_seconds_per_clip(experiment.input),
        traffic=expected_traffic(found.memory.parameters, found.memory.gradients, sizes) * _narrowed(experiment),
    )


def own_compiler(launch: DevicePlan) -> bool:
    """Return True if the devices' own compiler is installed, and supports this number of them."""
    try:
        return target(launch.device, launch.devices) is not None
    except ValueError:
        return False


def compile_launch(experiment: Experiment, launch: DevicePlan) -> tuple[DevicePlan, Compiled]:
    """Compile a step with XLA; return the plan with the compiled rows, and the compiler's report.

    If the recipe's rows do not fit, as many as fit are compiled.

    Raises:
      ValueError: the program does not compile.
    """
    mesh = Mesh(**launch.sizes)
    # A global number of rows: 12 planned and 10 that fit, on 8 devices, compiles 80 rows.
    rows = max(min(launch.rows, launch.fits), 1) * shard_factor("batch", launch.sizes)
    packing = dataclasses.replace(experiment.input.packing, rows=rows)
    smaller = dataclasses.replace(experiment, mesh=mesh, input=dataclasses.replace(experiment.input, packing=packing))
    found = compile_in_subprocess(smaller, launch.devices, target(launch.device, launch.devices))
    if rows == launch.plan.run.rows:
        return launch, found
    return plan_devices(smaller, launch.device, launch.devices, mesh, launch.mfu), found


def with_compiled_bytes(launch: DevicePlan, planned: DevicePlan, found: Compiled) -> DevicePlan:
    """Return the plan with the bytes of the device's own compiler, and with the rows that fit by them.

    Args:
      launch: requested plan.
      planned: the same plan with the rows that were compiled.
      found: XLA's report on them. Other numbers of rows are extrapolated by the slope of the traced bytes.
    """
    if not found.own:
        return launch
    # XLA's scratch over the traced one corrects the slope: traced 2 GiB a row, XLA 12 GiB where 10 were traced, gives
    # 2.4.
    each = launch.bytes_per_row * found.scratch / (planned.memory.gradients + planned.memory.activations)
    return dataclasses.replace(
        launch,
        # 12 rows planned, 10 compiled to 60 GiB, 2.4 GiB a row: 64.8 GiB.
        bytes=found.total + round((launch.rows - planned.rows) * each),
        bytes_per_row=each,
        compiled=True,
        fits=_fits(planned.rows, launch.usable - found.total, each),
    )


def _fits(rows: int, left: int, each: float) -> int:
    """Return the most rows per device, if a plan with `rows` leaves `left` bytes and a row takes `each`."""
    # 8 rows exceed the device by 3 GiB (left = -3) and a row takes 1 GiB: 5 rows fit.
    return max(math.floor(rows + left / each), 0)


def _bytes_of_a_row(
    experiment: Experiment, sketch: BatchOutline, memory: Memory, rows: int, sizes: Mapping[str, int]
) -> float:
    """Return the bytes of one more row, from two numbers of rows: memory grows linearly in rows."""
    # A second row count, far enough for a reliable slope: 4 beside 8, 8 beside 4, 2 beside 1.
    other = 2 * rows if rows < 8 else rows // 2
    learner = abstract_learner(experiment, sketch.spec, for_memory(experiment.model))
    second = step_memory(experiment, learner, abstract_stream(sketch.shape, other), sizes)
    return (memory.total - second.total) / (rows - other)


def _narrowed(experiment: Experiment) -> float:
    """Return the size of sent parameters and gradients relative to float32: XLA casts them before sending on GPUs."""
    return jnp.dtype(experiment.model.compute).itemsize / 4


def _utilisation(experiment: Experiment, device: Device) -> tuple[float, str]:
    """Return the MFU and its source. Remat takes longer for the same model FLOPs, so it lowers the MFU."""
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
    """Return MFU, its source, and seconds of a step of this many model FLOPs; arguments as in `plan_devices`."""
    mfu, source = _utilisation(experiment, device) if mfu is None else (mfu, "as asked for")
    return mfu, source, flops / (devices * device.flops * mfu)


def as_dict(launch: DevicePlan) -> dict[str, Any]:
    """Return the device plan as plain values for JSON, without the plan of the run."""
    found = dataclasses.asdict(dataclasses.replace(launch, plan=None))
    del found["plan"]
    found["device"] = launch.device.name
    found["memory"]["total"] = launch.memory.total
    return found | {
        "usable": launch.usable,
        "grad_accum_steps": launch.grad_accum_steps,
        "clips_per_second": launch.clips_per_second,
    }
