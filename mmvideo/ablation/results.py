"""The results of a tier: a row per point with its values by seed and its cost, and the verdict on each claim."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mmvideo.ablation.cells import Cell, tier_of
from mmvideo.ablation.fields import differences
from mmvideo.ablation.run_record import Record, read_record
from mmvideo.ablation.statistics import Verdict, judge, paired
from mmvideo.ablation.suite import Claim, Metric, Published, Study, Suite, Where, fits, labels_of, points
from mmvideo.ablation.worker import CELLS, STATE

NOT_TOLD = ("name", "training.seed", "input.seed", "input.keep")
"""Fields that rows do not list as changes, since they say nothing about a point."""


class PlannedCell(Protocol):
    """The planned cost of a run: training FLOPs, parameters, and bytes on one device."""

    flops: float
    parameters: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class CellOutcome:
    """A cell and the outcome of its run.

    Attributes:
      cell: the cell.
      status: `done`, `failed`, or `missing` where the run has not ended.
      why: reason of a failed or missing run.
      seconds: wall time of the run.
      commit, versions, machine: code, packages and hardware of the run.
      record: measurements; None unless the run is done.
    """

    cell: Cell
    status: Literal["done", "failed", "missing"]
    why: str = ""
    seconds: float | None = None
    commit: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    machine: str = ""
    record: Record | None = None

    def value(self, metric: Metric) -> float | None:
        """Return the value of a metric; None where it was not measured."""
        return None if self.record is None else self.record.metrics.get(f"{metric.evaluation}/{metric.key}")


@dataclasses.dataclass(frozen=True)
class Row:
    """A point of a study.

    Attributes:
      labels: labels of its choices, by axis.
      cells: one cell per seed.
      changed: fields that differ from the study's base, with the base's value and the point's.
      planned: planned cost; None where it was not planned.
      published: the paper's results for this point.
    """

    labels: Mapping[str, str]
    cells: tuple[CellOutcome, ...]
    changed: Mapping[str, tuple[Any, Any]]
    planned: PlannedCell | None
    published: tuple[Published, ...]

    def values(self, metric: Metric) -> dict[int, float]:
        """Return the values of a metric by seed, of the cells that have one."""
        found = {cell.cell.seed: cell.value(metric) for cell in self.cells}
        return {seed: value for seed, value in found.items() if value is not None}

    def median(self, name: Literal["clips_per_second", "device_bytes", "seconds"]) -> float | None:
        """Return the median of a measured cost over the finished runs; None where no run has it."""
        # Seconds are in the state file of a cell, the other measurements in its workdir.
        told = [getattr(cell if name == "seconds" else cell.record, name) for cell in self.cells if cell.record]
        known = [value for value in told if value is not None]
        return float(np.median(known)) if known else None


@dataclasses.dataclass(frozen=True)
class StudyResults:
    """The results of a study, one table.

    Attributes:
      study: definition of the study.
      rows: its points, in the order of the table.
      verdicts: verdict on each claim.
      unmatched: published results for cells that the table does not have.
    """

    study: Study
    rows: tuple[Row, ...]
    verdicts: tuple[tuple[Claim, Verdict], ...]
    unmatched: tuple[Published, ...]


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of a tier, complete or not.

    Attributes:
      suite: definition of the suite.
      tier: name of the tier.
      folder: folder of the tier; workdirs of cells are `FOLDER/cells/PLACE`.
      studies: results of each study.
    """

    suite: Suite
    tier: str
    folder: Path
    studies: tuple[StudyResults, ...]

    @property
    def outcomes(self) -> list[CellOutcome]:
        """Outcomes of all cells."""
        return [cell for study in self.studies for row in study.rows for cell in row.cells]

    @property
    def runs(self) -> list[CellOutcome]:
        """Outcomes of all runs, each once where several cells share it."""
        return list({outcome.cell.place: outcome for outcome in self.outcomes}.values())

    @property
    def seeds(self) -> list[int]:
        """Seeds of the cells, in ascending order."""
        return sorted({outcome.cell.seed for outcome in self.outcomes})


def gather(
    suite: Suite, tier: str, cells: Sequence[Cell], folder: str | Path, costs: Mapping[str, PlannedCell] | None = None
) -> Results:
    """Read the results of a tier, finished or not.

    Args:
      suite, tier: the suite, and the name of the tier.
      cells: wanted cells, from `cells_of`.
      folder: folder of the tier, with `cells/PLACE` and `state/PLACE.json`; a cell counts when its state is `done`.
      costs: planned cost by run folder name; None leaves it out.

    Raises:
      ValueError: an unreadable file of a workdir.
    """
    folder, costs = Path(folder), costs or {}
    # Cells of several studies may share a run: it is read once.
    read = functools.cache(functools.partial(_ended, folder))
    found = []
    for study in tier_of(suite, tier).studies:
        own = [cell for cell in cells if cell.study == study.name]
        if own:
            found.append(_study(study, [CellOutcome(cell, **read(cell.place)) for cell in own], costs))
    return Results(suite, tier, folder, tuple(found))


def _ended(folder: Path, place: str) -> dict[str, Any]:
    """Return the outcome of a run as fields of `CellOutcome`."""
    path = folder / STATE / f"{place}.json"
    if not path.is_file():
        begun = (folder / CELLS / place / "metrics.jsonl").is_file()
        return {"status": "missing", "why": "it has begun and is not finished" if begun else "it was not run"}
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): remove it and run the suite again") from None
    # A missing or null field counts as empty.
    told = {name: state.get(name) or empty for name, empty in (("commit", ""), ("versions", {}), ("machine", ""))}
    told["seconds"] = state.get("seconds")
    if state["status"] != "done":
        return told | {"status": "failed", "why": state.get("why") or "it does not say why"}
    return told | {"status": "done", "record": read_record(folder / CELLS / place)}


def _study(study: Study, outcomes: Sequence[CellOutcome], costs: Mapping[str, PlannedCell]) -> StudyResults:
    """Return the results of one study."""
    by_point: dict[tuple[str, ...], list[CellOutcome]] = {}
    for outcome in outcomes:
        by_point.setdefault(tuple(outcome.cell.labels.values()), []).append(outcome)
    # The study gives the order of rows, the cells give which of them were asked for. Cells of one point differ in seed:
    # by_point = {("mid", "2"): [seed 0, seed 1, seed 2], …}.
    wanted = [tuple(labels_of(study, point).values()) for point in points(study)]
    rows = tuple(_row(study, by_point[labels], costs) for labels in wanted if labels in by_point)
    # By identity: the same entry may be shown in several rows, and equal entries may be listed twice.
    shown = {id(published) for row in rows for published in row.published}
    return StudyResults(
        study,
        rows,
        tuple((claim, verdict(study, rows, claim)) for claim in study.claims),
        tuple(published for published in study.published if id(published) not in shown),
    )


def _row(study: Study, cells: Sequence[CellOutcome], costs: Mapping[str, PlannedCell]) -> Row:
    """Return the row of one point."""
    first = cells[0].cell
    # fusion.layer 2 in the base and 3 here gives {"model.fusion.layer": (2, 3)}.
    changed = differences({"base": study.base, "here": first.experiment})
    return Row(
        first.labels,
        tuple(sorted(cells, key=lambda outcome: outcome.cell.seed)),
        {name: (told["base"], told["here"]) for name, told in changed.items() if name not in NOT_TOLD},
        costs.get(first.place),
        tuple(published for published in study.published if fits(published.where, first.labels)),
    )


def verdict(study: Study, rows: Sequence[Row], claim: Claim) -> Verdict:
    """Return the verdict of the rows on a claim of their study.

    A seed takes part only where every compared cell has a value, so that no two means are over different cells.
    """
    metric = next((metric for metric in study.metrics if metric.name == claim.metric), None)
    if metric is None:
        return Verdict("not measured", why=f"the study has no metric '{claim.metric}'")
    sides, lacking = [], []
    for where in (claim.better, claim.worse):
        wanted = [labels for point in points(study) if fits(where, labels := labels_of(study, point))]
        if not wanted:
            return Verdict("not measured", why=f"no cell is {described(where)}")
        values = [_values(rows, labels, metric) for labels in wanted]
        # Two cells fit one side, with {0: 60, 1: 62} and {0: 64}: only seed 0 is in both, and the side is {0: 62}. The
        # second cell lacks seed 1, and is named in the explanation.
        seeds = set.intersection(*(set(of) for of in values))
        every = {seed for of in values for seed in of}
        lacking += [described(labels) for labels, of in zip(wanted, values, strict=True) if not of or every - set(of)]
        sides.append({seed: float(np.mean([of[seed] for of in values])) for seed in seeds})
    # A gain is positive in the claimed direction: for a loss, worse minus better.
    gains = paired(*sides) if metric.higher else paired(*reversed(sides))
    # Seeds that were run, to say "2 of 3 seeds" where some cells lack a value.
    most = max((len(row.cells) for row in rows), default=0)
    why = ""
    if len(gains) < most:
        some = "; ".join(dict.fromkeys(lacking))
        why = f"{len(gains)} of {most} seeds" + (f"; without a value in some: {some}" if some else "")
    return judge([gains[seed] for seed in sorted(gains)], claim.margin, why)


def _values(rows: Sequence[Row], labels: Mapping[str, str], metric: Metric) -> dict[int, float]:
    """Return the values by seed of the row with these labels; empty without such a row."""
    return next((row.values(metric) for row in rows if dict(row.labels) == dict(labels)), {})


def described(where: Where) -> str:
    """Return labels in words, such as `kind=mid, layer=2`."""
    return ", ".join(f"{axis}={label}" for axis, label in where.items()) or "any cell"
