"""Runs side by side: runs that differ only in their seeds form one column."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.ablation.fields import differences, flat, override
from mmvideo.ablation.results import PlannedCell
from mmvideo.ablation.run_record import Record, read_record
from mmvideo.ablation.statistics import Estimate, estimate, paired
from mmvideo.evaluation.report.parts.metric_names import headline
from mmvideo.evaluation.report.task_sections import task
from mmvideo.experiment.config import ConfigError, Experiment
from mmvideo.experiment.weights.verified_config import load_run

SEEDS: dict[str, Any] = {"name": "", "training.seed": 0, "input.seed": 0, "input.keep": None}
"""Fields in which runs of one column may differ, with the values that replace them in a comparison."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run, complete or not.

    Attributes:
      workdir: its folder, as given.
      experiment: its settings.
      record: its measurements.
    """

    workdir: Path
    experiment: Experiment
    record: Record

    @property
    def seed(self) -> int:
        """Training seed."""
        return self.experiment.training.seed

    @property
    def unfinished(self) -> str:
        """Remark about the last step of an incomplete run; empty for a complete one."""
        steps = self.experiment.training.steps
        return f"{self.workdir} is not finished: step {self.record.step} of {steps}" if self.record.step < steps else ""


@dataclasses.dataclass(frozen=True)
class Column:
    """Runs that differ only in their seeds.

    Attributes:
      name: unique name of the column.
      runs: its runs.
    """

    name: str
    runs: tuple[Finished, ...]

    def values(self, metric: str) -> list[float]:
        """Return the values of a metric, one per run that has it."""
        return [run.record.metrics[metric] for run in self.runs if metric in run.record.metrics]

    def by_seed(self, metric: str) -> dict[int, float]:
        """Return the values of a metric by seed; of runs with the same seed, the last one counts."""
        return {run.seed: run.record.metrics[metric] for run in self.runs if metric in run.record.metrics}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
      columns: groups of runs that differ only in their seeds.
      differences: fields that differ, with the value of each column.
      metrics: metrics that all columns have, as `EVALUATION/KEY`, headlines first.
      headlines: number of headline metrics.
      others: number of metrics that only some columns have.
      planned: cost of a run by column, where it could be planned.
      unplanned: reason why planning failed, by column.
    """

    columns: tuple[Column, ...]
    differences: Mapping[str, Mapping[str, Any]]
    metrics: tuple[str, ...]
    headlines: int
    others: int
    planned: Mapping[str, PlannedCell]
    unplanned: Mapping[str, str]

    @property
    def remarks(self) -> list[str]:
        """Remarks about unfinished runs and costs that could not be planned."""
        found = [run.unfinished for column in self.columns for run in column.runs if run.unfinished]
        return found + [f"the cost of {name} can't be planned: {why}" for name, why in self.unplanned.items()]


def compare(runs: Sequence[str | Path], pattern: str | None = None, planned: bool = True) -> Comparison:
    """Read runs and arrange them side by side.

    Args:
      runs: their workdirs; duplicates count once.
      pattern: glob pattern of the wanted metrics, such as `retrieval/*` or `*top1`; None wants all.
      planned: whether to plan FLOPs, parameters and bytes, which takes seconds per column.

    Raises:
      ConfigError: a folder without a run, a single run, or nothing in common.
    """
    # By resolved path, so that runs/a and ./runs/a count once.
    found = list({Path(run).resolve(): _read(Path(run)) for run in runs}.values())
    if len(found) < 2:
        raise ConfigError("one run alone compares with nothing: give two or more workdirs")
    columns = _columns(found)
    names = [name for name in dict.fromkeys(name for run in found for name in run.record.metrics)]
    wanted = [name for name in names if pattern is None or _matches(name, pattern)]
    shared = [name for name in wanted if all(column.values(name) for column in columns)]
    if not shared:
        raise ConfigError(_nothing(columns, names, wanted, pattern))
    # Headlines first, then the others, each in order of first appearance.
    first = [name for name in shared if _is_headline(name)]
    whys: dict[str, str] = {}
    # Seeds differ inside a column, so they say nothing about the columns.
    settings = {column.name: override(column.runs[0].experiment, SEEDS) for column in columns}
    return Comparison(
        columns,
        differences(settings),
        (*first, *(name for name in shared if name not in first)),
        len(first),
        len(wanted) - len(shared),
        _planned(settings, whys) if planned else {},
        whys,
    )


def _read(workdir: Path) -> Finished:
    """Read one run."""
    if not (workdir / "config.json").is_file():
        what = "is no run: it has no config.json" if workdir.is_dir() else "is not there"
        raise ConfigError(f"{workdir} {what}; give the workdirs of runs")
    return Finished(workdir, load_run(workdir), read_record(workdir))


def _columns(runs: Sequence[Finished]) -> tuple[Column, ...]:
    """Group runs that agree in all but their seeds, in the order given."""
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        key = json.dumps(flat(override(run.experiment, SEEDS)), sort_keys=True)
        # runs a_s0, a_s1, b_s0 give two groups, [a_s0, a_s1] and [b_s0].
        groups.setdefault(key, []).append(run)
    names = [_name([run.workdir.resolve().name for run in group]) for group in groups.values()]
    # a/run_s0 and b/run_s0 are both called "run_s0": then the paths name them, and if need be a number, "run (2)".
    if len(set(names)) < len(names):
        names = [_name([str(run.workdir) for run in group]) for group in groups.values()]
    names = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]
    return tuple(Column(name, tuple(group)) for name, group in zip(names, groups.values(), strict=True))


def _name(words: Sequence[str]) -> str:
    """Return the common part of the names of runs, without the remains of seed numbers."""
    if len(words) == 1:
        return words[0]
    # "mbt_s0" and "mbt_s1" have "mbt_s" in common; the "s" after a separator is the seed's, so the name is "mbt". The
    # "s" of "bits-0" and "bits-1" is part of a word and stays.
    common = os.path.commonprefix(list(words)).rstrip("0123456789")
    for ending in ("seed", "s"):
        if common[: -len(ending)].endswith(("_", "-", ".")):
            common = common.removesuffix(ending)
    return common.rstrip("_-./ ") or f"{words[0]} and {len(words) - 1} more"


def _matches(name: str, pattern: str) -> bool:
    """Return True if a pattern matches a metric, with or without the name of its evaluation."""
    return any(fnmatch.fnmatchcase(one, pattern) for one in (name, name.partition("/")[2]))


def _is_headline(name: str) -> bool:
    """Return True for the main metrics of a task."""
    evaluation, _, key = name.partition("/")
    return headline(task(evaluation), key)


def _nothing(columns: Sequence[Column], names: Sequence[str], wanted: Sequence[str], pattern: str | None) -> str:
    """Return the error message for runs that have no metric in common."""
    empty = [str(run.workdir) for column in columns for run in column.runs if not run.record.metrics]
    if names and not wanted:
        return f"no metric of these runs is called '{pattern}'; they have {', '.join(names[:5])} and others"
    if empty:
        return f"nothing in common: {', '.join(empty)} has no evaluation yet; run mmvideo eval on it"
    return "nothing in common: no metric was measured of all; run mmvideo eval on them with the same settings"


def _planned(settings: Mapping[str, Experiment], whys: dict[str, str]) -> dict[str, PlannedCell]:
    """Return the planned cost of each column, and add the reason of each failure to `whys`."""
    from mmvideo.ablation.cost import cost_of

    found = {}
    for name, experiment in settings.items():
        try:
            found[name] = cost_of(experiment)
        except (ValueError, OSError) as error:
            whys[name] = " ".join(str(error).split())
    return found


def estimates(comparison: Comparison, metric: str) -> list[Estimate | None]:
    """Return the mean and interval of a metric, one per column."""
    return [estimate(column.values(metric)) for column in comparison.columns]


def gains(comparison: Comparison, metric: str) -> list[Estimate | None]:
    """Return each further column minus the first, seed by seed; None where no seed is in both."""
    first, *others = comparison.columns
    return [estimate(list(paired(one.by_seed(metric), first.by_seed(metric)).values())) for one in others]
