"""Published numbers as columns of their own, each with its source and how well it is known."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from mmvideo.ablation.pages.document import DASH
from mmvideo.ablation.results import Row, StudyResults, described
from mmvideo.ablation.suite import Mark, Published

EVIDENCE: dict[Mark, str] = {
    "P": "read in the paper",
    "B": "read in a post of its authors",
    "C": "read in its code or README",
    "R": "confirmed by running it",
    "E": "expected here, read in no document",
}
"""What the marks of evidence mean."""


@dataclasses.dataclass(frozen=True)
class Column:
    """Numbers of one kind from one source.

    Attributes:
      name: the paper's own name of the column.
      source, mark: as of `Published`.
    """

    name: str
    source: str
    mark: Mark


def columns(study: StudyResults) -> list[Column]:
    """The columns that the rows of a study have numbers for, those of a source side by side."""
    found = dict.fromkeys(
        Column(name, published.source, published.mark)
        for row in study.rows
        for published in row.published
        for name in published.values
    )
    order = list(dict.fromkeys((column.source, column.mark) for column in found))
    return sorted(found, key=lambda column: order.index((column.source, column.mark)))


def sources(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Where neighbouring columns are from, in words, with how many they are."""
    groups = itertools.groupby(columns, key=lambda column: f"{column.source} ({EVIDENCE[column.mark]})")
    return [(words, len(list(group))) for words, group in groups]


def number(row: Row, column: Column) -> float | None:
    """The number of a row: that of the cell named most closely, where several fit."""
    fitting = [
        published
        for published in row.published
        if (published.source, published.mark) == (column.source, column.mark) and column.name in published.values
    ]
    return max(fitting, key=lambda published: len(published.where)).values[column.name] if fitting else None


def place(row: Row, column: Column) -> str:
    """The number as it is printed; a dash for none."""
    value = number(row, column)
    return DASH if value is None else f"{value:g}"


def cell_of(published: Published) -> str:
    """Which cell it is for, in words."""
    return described(published.where)
