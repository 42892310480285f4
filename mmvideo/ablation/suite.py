"""The definition of a suite: the varied settings, the fixed ones, the published results and the claims.

A suite is a Python file that defines `suite = Suite(...)`. Its tiers ask the same questions at two sizes: `toy` on
generated clips in minutes, `paper` at the published size on a cluster. A tier has studies. Each study crosses axes on a
base experiment, and measures the same metrics in every cell. A third tier, `accelerator`, is derived from the toy tier
(`mmvideo.ablation.toy`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from mmvideo.experiment.config import Experiment

Change = Callable[[Experiment], Experiment]
"""Change to an experiment that field values cannot express."""

Where = Mapping[str, str]
"""One or several cells: labels of choices by axis name. An axis that is not named matches any label."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """One point of an axis.

    Attributes:
      label: label in tables.
      fields: values by dotted field name of the experiment, such as `model.fusion.layer`.
      change: further change, applied after the fields.
    """

    label: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    change: Change | None = None


@dataclasses.dataclass(frozen=True)
class Axis:
    """A varied setting: a name and its choices. `grid`, `named` and `paired` build axes."""

    name: str
    choices: tuple[Choice, ...]


def grid(name: str, field: str, values: Sequence[Any], labels: Sequence[str] | None = None) -> Axis:
    """Return an axis over the values of one field; the values are the labels unless labels are given."""
    labels = [str(value) for value in values] if labels is None else labels
    return Axis(name, tuple(Choice(label, {field: value}) for label, value in zip(labels, values, strict=True)))


def named(name: str, changes: Mapping[str, Mapping[str, Any] | Change]) -> Axis:
    """Return an axis of named changes: values by field, or a function of the experiment."""
    return Axis(
        name,
        tuple(
            Choice(label, change=change) if callable(change) else Choice(label, change)
            for label, change in changes.items()
        ),
    )


def paired(name: str, fields: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> Axis:
    """Return an axis along which several fields change together, with a row of values for each label."""
    # paired("size", ["model.depth", "model.width"], {"S": [12, 384], "B": [12, 768]}) has two choices, not four.
    return Axis(name, tuple(Choice(label, dict(zip(fields, row, strict=True))) for label, row in rows.items()))


@dataclasses.dataclass(frozen=True)
class Metric:
    """A column of the results.

    Attributes:
      name: column head in tables.
      evaluation: name of the evaluation; its file is `evals/EVALUATION.json`.
      key: key of the metric in that file.
      higher: whether larger values are better.
    """

    name: str
    evaluation: str
    key: str
    higher: bool = True


Mark = Literal["P", "B", "C", "R", "E"]
"""Evidence of a published result: read in the paper, in a post of its authors, in the code or its README, confirmed by
running.

`E` marks an ordering that a suite expects. A result that nobody here has read is not called published.
"""


@dataclasses.dataclass(frozen=True)
class Published:
    """Published results for a cell. They are shown beside ours and never mixed with them.

    Attributes:
      where: cell, by the labels of the published axes.
      values: results by the paper's column name.
      source: paper and table, such as `VATT, table 5`.
      mark: evidence.
    """

    where: Where
    values: Mapping[str, float]
    source: str
    mark: Mark

    def __post_init__(self) -> None:
        _check_mark(self.mark, self.source)


@dataclasses.dataclass(frozen=True)
class Claim:
    """An ordering that a paper claims, or that a suite expects.

    Attributes:
      text: claim in words.
      better, worse: compared cells; the means over all matching cells are compared seed by seed.
      metric: name of the compared column.
      source: paper and section of the claim.
      mark: evidence.
      margin: smallest gain that counts, in the unit of the metric; negative for a claim that the loss is at most this.
    """

    text: str
    better: Where
    worse: Where
    metric: str
    source: str
    mark: Mark
    margin: float = 0.0

    def __post_init__(self) -> None:
        _check_mark(self.mark, self.text)


def _check_mark(mark: str, of: str) -> None:
    """Raise a ValueError for an unknown mark of evidence."""
    if mark not in get_args(Mark):
        raise ValueError(f"mark {mark!r} of {of!r} must be one of {', '.join(get_args(Mark))}: the evidence for it")


@dataclasses.dataclass(frozen=True)
class Study:
    """One table: a base experiment, crossed axes, and metrics.

    Attributes:
      name: short name.
      base: experiment that the axes change.
      axes: axes in the order of the table's columns.
      metrics: measured columns.
      claims: orderings to test.
      published: published results to show beside ours.
      without: excluded cells, since they make no sense or repeat others.
    """

    name: str
    base: Experiment
    axes: tuple[Axis, ...]
    metrics: tuple[Metric, ...]
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...] = ()
    without: tuple[Where, ...] = ()


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A generated corpus of a tier; made once, and shared by all suites that ask for the same.

    Attributes:
      name: folder name among the generated corpora.
      train, test: number of clips.
      size: frame size in pixels.
      difficulty: difficulty of the shapes, 0 to 1.
      longest: longest clip in seconds.
      vocabulary: vocabulary size of its tokenizer.
    """

    name: str
    train: int = 3000
    test: int = 400
    size: int = 32
    difficulty: float = 0.0
    longest: float = 2.0
    vocabulary: int = 256


@dataclasses.dataclass(frozen=True)
class Tier:
    """A suite at one size.

    Attributes:
      studies: its tables.
      seeds: training seeds; every cell is run with each, and cells are compared seed by seed.
      corpora: generated corpora that it needs.
      needs: other required data, in words; empty where the corpora suffice.
      minutes: stated time of the whole tier on two cores; 0 where it needs other hardware.
      before: shared runs by name, such as a pretrained checkpoint; a cell refers to one as
        `training.init_from="shared:NAME"`.
      findings: conclusions from verdicts, by the text of the claim; written after the tier was run.
    """

    studies: tuple[Study, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    corpora: tuple[Corpus, ...] = ()
    needs: str = ""
    minutes: float = 0.0
    before: Mapping[str, Experiment] = dataclasses.field(default_factory=dict)
    findings: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Suite:
    """An ablation suite.

    Attributes:
      name: short name, equal to its folder's.
      title: title of its pages.
      fixed: fixed settings, in words.
      toy, paper: its tiers.
      remarks: notes on how to read the results.
    """

    name: str
    title: str
    fixed: str
    toy: Tier
    paper: Tier
    remarks: str = ""


def points(study: Study) -> list[tuple[Choice, ...]]:
    """Return the crossed choices of a study in the order of the table, without the excluded cells."""
    # Two axes of 2 and 3 choices give 6 points; `without` removes those that match all labels of an entry.
    return [
        point
        for point in itertools.product(*(axis.choices for axis in study.axes))
        if not any(fits(where, labels_of(study, point)) for where in study.without)
    ]


def labels_of(study: Study, point: Sequence[Choice]) -> dict[str, str]:
    """Return the labels of a point by axis."""
    return {axis.name: choice.label for axis, choice in zip(study.axes, point, strict=True)}


def fits(where: Where, labels: Mapping[str, str]) -> bool:
    """Return True if the labels match all named axes."""
    return all(labels.get(axis) == label for axis, label in where.items())
