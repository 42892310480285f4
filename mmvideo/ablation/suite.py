"""What a suite is: what varies, what is held fixed, what was published, and what must come out.

A suite is a Python file that defines `suite = Suite(...)`. Its tiers ask the same questions at two sizes: `toy` on
generated clips in minutes, `paper` at the published size on a cluster. A tier has studies, each a base experiment with
axes that are crossed, and what is measured in every cell. A third tier, `accelerator`, is made of the toy's
(`mmvideo.ablation.toy`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from mmvideo.experiment.config import Experiment

Change = Callable[[Experiment], Experiment]
"""What is done to an experiment that no field alone can say."""

Where = Mapping[str, str]
"""A cell, or several: names of axes with the label of a choice. Axes that aren't named are any."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """One point of an axis.

    Attributes:
      label: as it stands in tables.
      fields: dotted fields of the experiment with their values, such as `model.fusion.layer`.
      change: what else is done, after the fields.
    """

    label: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    change: Change | None = None


@dataclasses.dataclass(frozen=True)
class Axis:
    """What varies: a name and its choices. `grid`, `named` and `paired` make them."""

    name: str
    choices: tuple[Choice, ...]


def grid(name: str, field: str, values: Sequence[Any], labels: Sequence[str] | None = None) -> Axis:
    """An axis of the values of one field, labelled as they are written unless labels are given."""
    labels = [str(value) for value in values] if labels is None else labels
    return Axis(name, tuple(Choice(label, {field: value}) for label, value in zip(labels, values, strict=True)))


def named(name: str, changes: Mapping[str, Mapping[str, Any] | Change]) -> Axis:
    """An axis of named changes: fields with their values, or a function of the experiment."""
    return Axis(
        name,
        tuple(
            Choice(label, change=change) if callable(change) else Choice(label, change)
            for label, change in changes.items()
        ),
    )


def paired(name: str, fields: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> Axis:
    """An axis along which several fields change together: a row of values for each label."""
    return Axis(name, tuple(Choice(label, dict(zip(fields, row, strict=True))) for label, row in rows.items()))


@dataclasses.dataclass(frozen=True)
class Metric:
    """A column of the results.

    Attributes:
      name: its head in tables.
      evaluation: the file of it, `evals/EVALUATION.json`.
      key: of the metric in there.
      higher: whether more is better.
    """

    name: str
    evaluation: str
    key: str
    higher: bool = True


Mark = Literal["P", "B", "C", "R", "E"]
"""Evidence of a published number: read in the paper, in a post of its authors, in the code or its README, confirmed by
running. What nobody here has read is not said to be published: `E` is for an ordering that a suite of ours expects."""


@dataclasses.dataclass(frozen=True)
class Published:
    """Numbers of a paper for a cell. They stand beside ours and are never mixed with them.

    Attributes:
      where: the cell, by the labels of the published axes.
      values: by the paper's own column.
      source: such as `VATT, table 5`.
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
    """An ordering that a paper claims, or that a suite of our own expects.

    Attributes:
      text: it in words.
      better, worse: cells that are compared; means over all that fit, seed by seed.
      metric: the name of the column it is about.
      source: where it is claimed.
      mark: evidence.
      margin: how much better it must be to count, in the unit of the metric; negative for a claim that something loses
        no more than so much.
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
    if mark not in get_args(Mark):
        raise ValueError(f"mark {mark!r} of {of!r} must be one of {', '.join(get_args(Mark))}: the evidence for it")


@dataclasses.dataclass(frozen=True)
class Study:
    """One table: a base, axes that are crossed, and what is measured.

    Attributes:
      name: a short name.
      base: the experiment that the axes change.
      axes: in the order in which they stand in the table.
      metrics: columns.
      claims: orderings to be tested.
      published: numbers to stand beside ours.
      without: cells that are left out, since they make no sense or repeat others.
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
    """Generated clips that a tier learns from; made once, and shared by all that ask for the same.

    Attributes:
      name: folder below that of all corpora.
      train, test: clips.
      size: pixels.
      difficulty: 0 to 1, of the shapes.
      longest: seconds of a clip.
      vocabulary: pieces of its tokenizer.
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
      seeds: of training; each cell is run with all of them, and cells are compared seed by seed.
      corpora: generated clips that it needs.
      needs: data that must be at hand, in words; empty where the corpora are all.
      minutes: what all of it is stated to take on two cores; 0 where that is not the machine for it.
      before: runs that cells share, such as a pretrained checkpoint, by name; a cell names one as
        `training.init_from="shared:NAME"`.
      findings: what is made of the verdicts on claims, by the text of the claim; written when the tier has been run.
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
    """An ablation.

    Attributes:
      name: a short name, that of its folder.
      title: what it is about.
      fixed: what is held fixed, in words.
      toy, paper: its tiers.
      remarks: what must be known to read the results.
    """

    name: str
    title: str
    fixed: str
    toy: Tier
    paper: Tier
    remarks: str = ""


def points(study: Study) -> list[tuple[Choice, ...]]:
    """The crossed choices of a study, in the order of the table, without those that are left out."""
    return [
        point
        for point in itertools.product(*(axis.choices for axis in study.axes))
        if not any(fits(where, labels_of(study, point)) for where in study.without)
    ]


def labels_of(study: Study, point: Sequence[Choice]) -> dict[str, str]:
    """The labels of a point by axis."""
    return {axis.name: choice.label for axis, choice in zip(study.axes, point, strict=True)}


def fits(where: Where, labels: Mapping[str, str]) -> bool:
    """Whether a cell is one of those that are named."""
    return all(labels.get(axis) == label for axis, label in where.items())
