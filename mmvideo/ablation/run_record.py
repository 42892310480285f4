"""What a run's workdir tells: metrics, speed, memory, time, how far it came."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from mmvideo.evaluation.results import read_result
from mmvideo.records.lines import read_lines


@dataclasses.dataclass(frozen=True)
class Record:
    """A run as its workdir tells of it.

    Attributes:
      metrics: of its evaluations, by `EVALUATION/KEY`; those without a number are left out.
      step: that it came to.
      clips_per_second: median over the lines of `metrics.jsonl`, without the first, which is still settling.
      device_bytes: the most that were in use on one device; None where the device does not tell, as CPUs don't.
      seconds: that were booked, of all its starts.
      began, ended: seconds since 1970, by its ledger; None where it has none.
    """

    metrics: Mapping[str, float]
    step: int
    clips_per_second: float | None
    device_bytes: int | None
    seconds: float
    began: float | None
    ended: float | None


def read_record(workdir: Path) -> Record:
    """Reads a workdir; what it lacks is empty.

    Raises:
      DamagedRecord: an evaluation that isn't what was written, with its file.
    """
    ledger = read_lines(workdir / "ledger.jsonl")
    lines = [line for line in read_lines(workdir / "metrics.jsonl") if "examples_per_second" in line]
    speeds = [line["examples_per_second"] for line in lines[1:] or lines]
    booked = [line for line in ledger if "at" in line]
    return Record(
        metrics=_metrics(workdir / "evals"),
        step=max((line["step"] for line in lines), default=0),
        clips_per_second=statistics.median(speeds) if speeds else None,
        device_bytes=max((line["peak_device_bytes"] for line in lines if "peak_device_bytes" in line), default=None),
        seconds=math.fsum(line.get("wall", 0.0) for line in ledger),
        began=min((line["at"] - line.get("wall", 0.0) for line in booked), default=None),
        ended=max((line["at"] for line in booked), default=None),
    )


def _metrics(folder: Path) -> dict[str, float]:
    """The metrics of all evaluations that are numbers."""
    found: dict[str, float] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):
            continue
        metrics = read_result(path)["metrics"]
        found |= {f"{path.stem}/{key}": float(value) for key, value in metrics.items() if _is_number(value)}
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
