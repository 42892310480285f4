"""Workdirs made by hand, with numbers that are known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from mmvideo.ablation.suite import Metric
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import MaskedPatches

BASE = Experiment(name="base", model=Model(depth=4, width=32, heads=2), objectives={"patches": MaskedPatches()})
KINDS = {"early": {"model.fusion": Fusion("early")}, "mid & late": {"model.fusion": Fusion("mid", 2)}}
JOINT = Metric("joint", "classification", "joint/top1")
LOSS = Metric("loss", "losses", "loss", higher=False)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a plan says."""

    flops: float = 2e12
    parameters: int = 1_500_000
    bytes: int = 2**29


def write_run(
    workdir: Path, experiment: Experiment, metrics: dict[str, dict[str, float | None]], step: int = 4
) -> Path:
    """A workdir with an evaluation for each name, four lines of metrics, and ten seconds in the ledger."""
    (workdir / "evals").mkdir(parents=True)
    (workdir / "config.json").write_text(to_json(experiment))
    for name, found in metrics.items():
        (workdir / "evals" / f"{name}.json").write_text(json.dumps({"metrics": found, "clips": 40}))
    speeds = [1.0, 90.0, 100.0, 120.0][:step]
    lines = [{"step": place, "examples_per_second": speed} for place, speed in enumerate(speeds, 1)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"step": step}]))
    ledger = [{"at": 1000.0, "devices": 1}, {"at": 1010.0, "wall": 10.0}]
    (workdir / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ledger))
    return workdir


def write_state(folder: Path, place: str, status: str = "done", why: str | None = None) -> None:
    """How a cell ended."""
    state = {"status": status, "why": why, "seconds": 30.0, "commit": "abc123", "versions": {"jax": "0.11"}}
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / f"{place}.json").write_text(json.dumps(state | {"machine": "2 x cpu", "ended": 1010.0}))


def joint(kind: str, depth: int, seed: int) -> float:
    """What a cell reaches: mid is 0.1, 0.11 or 0.12 above early, by seed; depth matters to seed 0 alone."""
    above = {"early": 0.0, "mid & late": 0.1 + 0.01 * seed}[kind]
    return 0.5 + 0.02 * seed + above + (0.01 * depth if seed == 0 else 0.0)
