"""A run's measurements beside its plan.

A plan assumes that every clip is as long as its views and has every modality, so it is an upper bound on clips, tokens
and FLOPs of a step. Measurements are means over the lines of `metrics.jsonl`; rates leave out the first line of each
start, while the speed settles. Only accelerators report bytes.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.cost_model.devices import device_of_kind
from mmvideo.cost_model.memory import Memory
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_model import sketched
from mmvideo.experiment.planning.device_plan import DevicePlan, plan_devices
from mmvideo.experiment.planning.plan import Load, clip_flops, load, memory
from mmvideo.records.lines import read_lines


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the comparison.

    Attributes:
      name: name of the figure.
      planned, measured: values as text with their unit; empty where unknown.
      how: note on comparing the two.
    """

    name: str
    planned: str
    measured: str
    how: str = ""


def utilisation_of_a_token(experiment: Experiment, kind: str, devices: int) -> float | None:
    """Return the model FLOPs of a real token divided by the peak FLOP/s of all devices, for the metric `mfu`.

    Multiplied by real tokens per second it is model FLOP utilization: padding and recomputation count as nothing, and
    attention counts within its spans. A token has its share of the FLOPs of the largest clip, so shorter clips are
    counted with slightly more attention than they have.

    Args:
      experiment: the settings.
      kind: device kind as JAX names it.
      devices: number of devices.

    Returns:
      None for a device of unknown FLOPs, such as a CPU.
    """
    device = device_of_kind(kind)
    if device is None:
        return None
    return _token_flops(experiment) / (devices * device.flops)


def planned_and_measured(experiment: Experiment, workdir: str | Path) -> list[Figure]:
    """Return the figures of a run's last start, complete or not; none where nothing was measured yet."""
    ledger, lines = (read_lines(Path(workdir) / name) for name in ("ledger.jsonl", "metrics.jsonl"))
    starts = [line for line in ledger if "devices" in line]
    lines = [line for line in lines if "seconds_per_step" in line]
    if not starts or not lines:
        return []
    # A run that started at step 0 on 8 devices and at step 500 on 4: only lines after step 500 compare with a plan for
    # 4.
    own = [line for line in lines if line["step"] > starts[-1]["from_step"]] or lines
    settled = own[1:] or own
    devices, kind = starts[-1]["devices"], starts[-1]["kind"]
    device = device_of_kind(kind)
    # Unknown devices, such as CPUs, have no FLOP/s to plan a time from.
    launch = None if device is None else plan_devices(experiment, device, devices, experiment.mesh)
    # Not a full plan, which counts more than is shown here and traces the model three more times.
    run, bytes_held = load(experiment), memory(experiment, devices) if launch is None else launch.plan.memory
    return [
        *_step_figures(run, own, _token_flops(experiment)),
        *_speed_figures(bytes_held, launch, settled, f"{devices:,} x {kind}"),
        *_run_figures(run, launch, ledger),
    ]


def _token_flops(experiment: Experiment) -> float:
    """Return the model FLOPs per real token of the largest clip."""
    return clip_flops(experiment) / sketched(experiment).need["tokens"]


def _step_figures(run: Load, lines: Sequence[Mapping[str, Any]], token_flops: float) -> list[Figure]:
    """Return the figures of a step's content."""
    padding = statistics.fmean(line["padding"] for line in lines)
    clips, tokens = (
        # Per line, so that a slow line with few clips a second still counts the clips of its steps.
        statistics.fmean(line[f"{name}_per_second"] * line["seconds_per_step"] for line in lines)
        for name in ("examples", "tokens")
    )
    return [
        Figure("clips a step", f"{run.clips:,}", f"{clips:,.1f}", "planned: as many of the largest as fit the rows"),
        Figure("tokens a step", f"{run.tokens:,}", f"{tokens:,.0f}", "real ones; planned: every clip the largest"),
        Figure("padding", f"{1 - run.tokens / run.slots:.1%}", f"{padding:.1%}", "of the slots for tokens"),
        Figure(
            "model FLOPs a step",
            f"{run.tokens * token_flops:.3g}",
            f"{tokens * token_flops:.3g}",
            "on real tokens, attention within its spans, nothing twice",
        ),
    ]


def _speed_figures(
    planned: Memory, launch: DevicePlan | None, lines: Sequence[Mapping[str, Any]], where: str
) -> list[Figure]:
    """Return the figures of speed and device memory."""
    median = statistics.median(line["seconds_per_step"] for line in lines)
    clips = statistics.fmean(line["examples_per_second"] for line in lines)
    bytes_used = max((line.get("peak_device_bytes", 0) for line in lines), default=0)
    known = [line["mfu"] for line in lines if "mfu" in line]
    return [
        Figure("a step", f"{launch.seconds:,.3g} s" if launch else "", f"{median:,.3g} s", f"median, on {where}"),
        Figure("clips a second", f"{launch.clips_per_second:,.4g}" if launch else "", f"{clips:,.4g}"),
        Figure(
            "MFU",
            f"{launch.mfu:.3g}" if launch else "",
            f"{statistics.fmean(known):.3g}" if known else "",
            f"planned: {launch.source}" if launch else "not known for this device",
        ),
        Figure(
            "bytes on a device",
            f"{planned.total / 2**30:,.3g} GiB",
            f"{bytes_used / 2**30:,.3g} GiB" if bytes_used else "",
            "the peak" if bytes_used else "not reported by the device",
        ),
    ]


def _run_figures(run: Load, launch: DevicePlan | None, ledger: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Return the figures of the whole run."""
    spent = {name: math.fsum(line.get(name, 0.0) for line in ledger) for name in ("wall", "wait", "step")}
    hours = "" if launch is None else f"{run.steps * launch.seconds / 3600:,.3g} h"
    # The denominator is at least 1e-9, for a run that has booked no step.
    waited = spent["wait"] / max(spent["wait"] + spent["step"], 1e-9)
    cores = "" if launch is None else f"; planned: with {launch.cores:,.3g} host cores"
    return [
        Figure("waiting for data", "0.0%", f"{waited:.1%}", f"of the time of steps{cores}"),
        Figure(
            "the run", hours, f"{spent['wall'] / 3600:,.3g} h", "planned: steps alone; measured: all that was booked"
        ),
    ]
