"""Published results as separate columns, each with its source and its evidence."""

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
"""Meaning of each mark of evidence."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A published metric from one source.

    Attributes:
      name: name of the column in the paper.
      source, mark: source and evidence, as in `Published`.
    """

    name: str
    source: str
    mark: Mark


def columns(study: StudyResults) -> list[Column]:
    """Return the published columns of a study's rows, those of a source side by side."""
    found = dict.fromkeys(
        Column(name, published.source, published.mark)
        for row in study.rows
        for published in row.published
        for name in published.values
    )
    # VATT R@1, MBT top-1, VATT R@5 become VATT R@1, VATT R@5, MBT top-1: sorted() is stable within a source.
    order = list(dict.fromkeys((column.source, column.mark) for column in found))
    return sorted(found, key=lambda column: order.index((column.source, column.mark)))


def sources(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Return the source of each group of neighboring columns in words, with the number of its columns."""
    groups = itertools.groupby(columns, key=lambda column: f"{column.source} ({EVIDENCE[column.mark]})")
    return [(words, len(list(group))) for words, group in groups]


def number(row: Row, column: Column) -> float | None:
    """Return the published value of a row; where several match, the one that names the most axes."""
    fitting = [
        published
        for published in row.published
        if (published.source, published.mark) == (column.source, column.mark) and column.name in published.values
    ]
    # A row kind=mid, layer=2 matches {kind: mid} and {kind: mid, layer: 2}: the second is meant.
    return max(fitting, key=lambda published: len(published.where)).values[column.name] if fitting else None


def place(row: Row, column: Column) -> str:
    """Return the value as text; a dash for None."""
    value = number(row, column)
    return DASH if value is None else f"{value:g}"


def cell_of(published: Published) -> str:
    """Return the cell of a published result in words."""
    return described(published.where)
