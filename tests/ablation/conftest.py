"""A suite and its workdirs made by hand, with numbers that are known."""

from __future__ import annotations

import dataclasses
import html.parser
import json
from pathlib import Path

import pytest

from mmvideo.ablation.cells import cells_of
from mmvideo.ablation.suite import Claim, Metric, Published, Study, Suite, Tier, grid, named
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


@pytest.fixture(scope="session")
def fusion() -> Suite:
    """Two kinds at three depths with three seeds; what is claimed holds, is reversed, or can't be told."""
    claims = (
        Claim("mid is better than early", {"kind": "mid & late"}, {"kind": "early"}, "joint", "a paper, table 1", "P"),
        Claim("early loses less", {"kind": "early"}, {"kind": "mid & late"}, "loss", "a paper, table 1", "C"),
        Claim("deeper is better", {"depth": "3"}, {"depth": "1"}, "joint", "ours", "M"),
        Claim("mid is far better", {"kind": "mid & late"}, {"kind": "early"}, "joint", "ours", "M", margin=0.5),
    )
    published = (
        Published({"kind": "early"}, {"mAP": 41.5}, "a paper, table 1", "P"),
        Published({"kind": "early", "depth": "3"}, {"mAP": 43.0}, "a paper, table 1", "P"),
        Published({"kind": "nowhere"}, {"mAP": 12.25}, "a paper, table 2", "M"),
    )
    axes = (named("kind", KINDS), grid("depth", "model.depth", [1, 2, 3]))
    study = Study("kind_of fusion", BASE, axes, (JOINT, LOSS), claims, published)
    return Suite("fusion", "Fusion <of> picture & sound", "all but the kind", Tier((study,), minutes=12), Tier(()))


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


@pytest.fixture
def folder(fusion, tmp_path) -> Path:
    """All cells done but one that failed and one that is not there; another lacks a metric."""
    for cell in cells_of(fusion.toy):
        kind, depth = cell.labels["kind"], int(cell.labels["depth"])
        key = (kind, depth, cell.seed)
        if key == ("early", 1, 2):
            write_state(tmp_path, cell.place, "failed", "NonFiniteError: a | loss of <nan>")
        elif key != ("early", 2, 2):
            value = joint(kind, depth, cell.seed)
            loss = None if key == ("mid & late", 3, 1) else 2 - value
            found = {"classification": {"joint/top1": value, "joint/clips": 40}, "losses": {"loss": loss}}
            write_run(tmp_path / "cells" / cell.place, cell.experiment, found)
            write_state(tmp_path, cell.place)
    return tmp_path


class _Page(html.parser.HTMLParser):
    """Addresses of a page; every element is closed where it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


@pytest.fixture
def addresses():
    """The addresses of a page that is well-formed."""

    def read(text: str) -> list[str]:
        page = _Page()
        page.feed(text)
        page.close()
        assert not page.open, f"left open: {page.open}"
        return page.addresses

    return read
