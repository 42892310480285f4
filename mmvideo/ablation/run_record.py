"""The record of a run, read from its workdir: metrics, speed, memory, time and last step."""

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
    """The measurements of a run.

    Attributes:
      metrics: finite metrics of its evaluations, by `EVALUATION/KEY`.
      step: last step.
      clips_per_second: median over the lines of `metrics.jsonl`, without the first line, while the speed settles.
      device_bytes: peak memory of one device; None where the device does not report it, as CPUs don't.
      seconds: booked wall time of all its starts.
      began, ended: seconds since 1970, from its ledger; None without a ledger.
    """

    metrics: Mapping[str, float]
    step: int
    clips_per_second: float | None
    device_bytes: int | None
    seconds: float
    began: float | None
    ended: float | None


def read_record(workdir: Path) -> Record:
    """Read a workdir; fields without a file are empty.

    Raises:
      DamagedRecord: an evaluation file that is not as it was written; the message names it.
    """
    ledger = read_lines(workdir / "ledger.jsonl")
    lines = [line for line in read_lines(workdir / "metrics.jsonl") if "examples_per_second" in line]
    # A run with a single line keeps that line: a slow figure says more than none.
    speeds = [line["examples_per_second"] for line in lines[1:] or lines]
    booked = [line for line in ledger if "at" in line]
    return Record(
        metrics=_metrics(workdir / "evals"),
        step=max((line["step"] for line in lines), default=0),
        clips_per_second=statistics.median(speeds) if speeds else None,
        device_bytes=max((line["peak_device_bytes"] for line in lines if "peak_device_bytes" in line), default=None),
        seconds=math.fsum(line.get("wall", 0.0) for line in ledger),
        # A line is written at the end of what it books: 60 s booked at 1000 began at 940.
        began=min((line["at"] - line.get("wall", 0.0) for line in booked), default=None),
        ended=max((line["at"] for line in booked), default=None),
    )


def _metrics(folder: Path) -> dict[str, float]:
    """Return all finite metrics of all evaluations."""
    found: dict[str, float] = {}
    for path in sorted(folder.glob("*.json")):
        # Hidden files are drafts of a write that has not finished.
        if path.name.startswith("."):
            continue
        metrics = read_result(path)["metrics"]
        found |= {f"{path.stem}/{key}": float(value) for key, value in metrics.items() if _is_number(value)}
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
