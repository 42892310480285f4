"""The predicted time of a training step on an absent GPU: compiled by its own compiler, and priced kernel by kernel."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from typing import Any

from mmvideo.cost_model.attention_flops import attention_flops
from mmvideo.cost_model.buffer_assignment import Assignment
from mmvideo.cost_model.compile_targets import GPUS, target
from mmvideo.cost_model.devices import DEVICES, Device
from mmvideo.cost_model.hlo import Program, read_program
from mmvideo.cost_model.prices import Line, Price, Spans, bill, launched, price_list
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import BatchOutline
from mmvideo.experiment.planning.abstract_model import sketched
from mmvideo.experiment.planning.device_plan import DevicePlan
from mmvideo.experiment.planning.host_cpu import cpu_seconds_per_clip
from mmvideo.experiment.planning.xla_compile import ask_program
from mmvideo.model.config import Model, model_dims, unrolled_layers
from mmvideo.model.kinds import ModelConfig

LARGEST = 12
"""Number of operations that are listed by name."""


@dataclasses.dataclass(frozen=True)
class Priced:
    """The cost of a step by the price list.

    Attributes:
      device: name in `GPUS`.
      layers: `scanned` or `unrolled`.
      rows: rows of the batch.
      seconds: time of the step.
      mfu: model FLOPs over the seconds and the peak FLOP/s.
      lines: sums by category.
      largest: longest operations; an operation in a loop is listed once for all iterations.
      calls: number of executions of each type of operation, or of each custom call.
      arguments, scratch: bytes that XLA assigned.
      compiling: seconds of the compilation.
    """

    device: str
    layers: str
    rows: int
    seconds: float
    mfu: float
    lines: tuple[Line, ...]
    largest: tuple[Price, ...]
    calls: dict[str, int]
    arguments: int
    scratch: int
    compiling: float


def price_launch(experiment: Experiment, launch: DevicePlan, layers: str) -> Priced:
    """Compile a step on one GPU, with as many rows as fit, and price it.

    Args:
      experiment: the settings.
      launch: plan for one device.
      layers: `scanned` or `unrolled`.

    Raises:
      ValueError: several devices, a device without a price list or compiler, or a program that does not compile.
    """
    check_priceable(launch.device, launch.devices)
    rows = max(min(launch.rows, launch.fits), 1)
    packing = dataclasses.replace(experiment.input.packing, rows=rows)
    smaller = dataclasses.replace(experiment, input=dataclasses.replace(experiment.input, packing=packing))
    began = time.perf_counter()
    found = ask_program(smaller, 1, target(launch.device, 1), layers)
    # If 8 rows were planned and 6 fit, the compiled step does 6/8 of the model FLOPs.
    flops = launch.flops * rows / launch.rows
    spans = row_spans(smaller, sketched(smaller))
    return priced(found, launch.device.name, layers, rows, flops, spans, time.perf_counter() - began)


def check_priceable(device: Device, devices: int) -> None:
    """Check that a step on such devices can be priced.

    Raises:
      ValueError: it cannot; the message says why.
    """
    if device.name not in GPUS:
        raise ValueError(f"--profile has prices for {', '.join(GPUS)}, not for {device.name}")
    if devices != 1:
        raise ValueError(f"--profile prices the step of one device, not of {devices}: leave --devices out")
    if target(device, 1) is None:
        raise ValueError("--profile needs XLA's compiler for NVIDIA GPUs, but no GPU: pip install mmvideo[cuda]")


def priced(
    found: Assignment, device: str, layers: str, rows: int, flops: float, spans: Spans | None, compiling: float
) -> Priced:
    """Return the price of a program that was compiled for a device and does this many model FLOPs."""
    program = read_program(found.text)
    prices = price_list(program, device, spans)
    lines = bill(prices)
    seconds = sum(line.seconds for line in lines)
    return Priced(
        device=device,
        layers=layers,
        rows=rows,
        seconds=seconds,
        mfu=flops / seconds / DEVICES[device].flops,
        lines=lines,
        largest=tuple(sorted(prices, key=lambda price: -price.seconds)[:LARGEST]),
        calls=count_calls(program),
        arguments=found.arguments,
        scratch=found.scratch,
        compiling=compiling,
    )


def layers_on_gpus(model: ModelConfig) -> str:
    """Return `unrolled` if a run on a GPU unrolls layers of this model, else `scanned`."""
    unrolls = isinstance(model, Model) and unrolled_layers(model, "gpu", model_dims(model).depth)
    return "unrolled" if unrolls else "scanned"


def timed(experiment: Experiment, launch: DevicePlan, found: list[Priced]) -> DevicePlan:
    """Return the plan with the step time from the price list, for the planned rows."""
    ahead = layers_on_gpus(experiment.model)
    used = next((each for each in found if each.layers == ahead), found[0])
    # Time is taken as proportional to rows: 6 rows in 0.3 s are 8 rows in 0.4 s.
    seconds = used.seconds * launch.rows / used.rows
    cores = launch.plan.run.clips / seconds * cpu_seconds_per_clip(experiment.input)
    source = f"of the program that XLA compiled, layers {used.layers}, priced kernel by kernel and not measured"
    return dataclasses.replace(launch, seconds=seconds, mfu=used.mfu, source=source, cores=cores)


def count_calls(program: Program) -> dict[str, int]:
    """Return the executions by type of operation: custom calls by target, products with their fused epilogue."""
    count: Counter = Counter()
    for _, one, times in launched(program, program.entry, 1):
        epilogue = re.search(r'"epilogue":"(\w+)"', one.text)
        name = " ".join(filter(None, (one.kind, one.target, epilogue[1] if epilogue else "")))
        count[name] += times
    return dict(count.most_common())


def row_spans(experiment: Experiment, sketch: BatchOutline) -> Spans | None:
    """Return the fraction of the backbone's attention within spans, if every clip of a row is the largest."""
    model = experiment.model
    if not isinstance(model, Model):
        return None
    numbers, tokens = model_dims(model), {name: sketch.need[name] for name in sketch.spec.modalities}
    if model.video_encoder is not None and "video" in tokens:
        tokens["video"] = sketch.spec.video.grid[0]
    captions = sketch.spec.text.captions if sketch.spec.text else 1
    # Two products of L x L x width (scores, and their sum over values) at 2 FLOPs each, in every layer, for a row of L
    # slots.
    dense = 4 * numbers.width * numbers.depth * experiment.input.packing.tokens**2
    return Spans(min(sketch.clips * attention_flops(model, tokens, captions) / dense, 1.0), numbers.width)


def as_dict(found: Priced) -> dict[str, Any]:
    """Return plain values for JSON."""
    return dataclasses.asdict(found)
