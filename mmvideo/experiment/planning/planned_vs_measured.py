"""What a run measured beside what was planned for it.

A plan takes every clip to be as long as its views and to have every modality, so that it tells the most clips, tokens
and FLOPs of a step; what was measured is a mean over the lines of `metrics.jsonl`, whose first of each start is left
out for rates: it is still settling. Bytes are told by accelerators alone.
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
      name: what it is.
      planned, measured: in words, with their unit; empty where it isn't known.
      how: what must be known to compare the two.
    """

    name: str
    planned: str
    measured: str
    how: str = ""


def utilisation_of_a_token(experiment: Experiment, kind: str, devices: int) -> float | None:
    """Model FLOPs of a real token over what all devices could do in a second, for the metric `mfu`.

    Times the real tokens a second it is model FLOP utilisation: padding, and what rematerialisation computes again,
    count as nothing, and attention counts within its spans. A token takes its share of the largest clip, so that clips
    that are shorter are reckoned with a little more attention than they have.

    Args:
      experiment: the settings.
      kind: what JAX calls a device.
      devices: how many there are.

    Returns:
      None for a device whose FLOPs aren't known, such as a CPU.
    """
    device = device_of_kind(kind)
    if device is None:
        return None
    return _token_flops(experiment) / (devices * device.flops)


def planned_and_measured(experiment: Experiment, workdir: str | Path) -> list[Figure]:
    """The figures of a run, whole or not, as it was on its last start; none where it has measured nothing yet."""
    ledger, lines = (read_lines(Path(workdir) / name) for name in ("ledger.jsonl", "metrics.jsonl"))
    starts = [line for line in ledger if "devices" in line]
    lines = [line for line in lines if "seconds_per_step" in line]
    if not starts or not lines:
        return []
    own = [line for line in lines if line["step"] > starts[-1]["from_step"]] or lines
    settled = own[1:] or own
    devices, kind = starts[-1]["devices"], starts[-1]["kind"]
    device = device_of_kind(kind)
    launch = None if device is None else plan_devices(experiment, device, devices, experiment.mesh)
    # A whole plan counts more than is shown here, and traces the model three times more.
    run, bytes_held = load(experiment), memory(experiment, devices) if launch is None else launch.plan.memory
    return [
        *_step_figures(run, own, _token_flops(experiment)),
        *_speed_figures(bytes_held, launch, settled, f"{devices:,} x {kind}"),
        *_run_figures(run, launch, ledger),
    ]


def _token_flops(experiment: Experiment) -> float:
    return clip_flops(experiment) / sketched(experiment).need["tokens"]


def _step_figures(run: Load, lines: Sequence[Mapping[str, Any]], token_flops: float) -> list[Figure]:
    """What goes through a step."""
    padding = statistics.fmean(line["padding"] for line in lines)
    clips, tokens = (
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
    """How fast it went, and what it took of a device."""
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
            "the most at once" if bytes_used else "the device does not tell its own",
        ),
    ]


def _run_figures(run: Load, launch: DevicePlan | None, ledger: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """The whole of the run."""
    spent = {name: math.fsum(line.get(name, 0.0) for line in ledger) for name in ("wall", "wait", "step")}
    hours = "" if launch is None else f"{run.steps * launch.seconds / 3600:,.3g} h"
    waited = spent["wait"] / max(spent["wait"] + spent["step"], 1e-9)
    cores = "" if launch is None else f"; planned: with {launch.cores:,.3g} host cores"
    return [
        Figure("waiting for data", "0.0%", f"{waited:.1%}", f"of the time of steps{cores}"),
        Figure(
            "the run", hours, f"{spent['wall'] / 3600:,.3g} h", "planned: steps alone; measured: all that was booked"
        ),
    ]
