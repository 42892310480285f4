"""A page of results as plain values, written alike as Markdown, LaTeX and HTML: facts, sections, tables and plots.

Numbers are words here already, so that they read the same everywhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mmvideo.ablation.statistics import Estimate

DASH = "–"
"""Stands where there is no number: missing is not zero."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
      text: it; a line each where there are several.
      bold: the best of its column, or what matters of a row.
      links: addresses of words, in place of `text` where there are any.
      code: it is names of settings.
    """

    text: str = ""
    bold: bool = False
    links: tuple[tuple[str, str], ...] = ()
    code: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      head: its columns.
      rows: what stands in them.
      words: that many columns at the left hold words, and so does `wordy`.
      groups: words above columns, each with how many columns it is above; empty for none.
      wordy: other columns that hold words.
      note: what must be known to read it.
      title: of a table within a section.
      folded: whether it is shown on request only.
      printed: whether it is of use in a paper; one that is folded isn't.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    words: int = 1
    groups: tuple[tuple[str, int], ...] = ()
    wordy: tuple[int, ...] = ()
    note: str = ""
    title: str = ""
    folded: bool = False
    printed: bool = True

    def is_wordy(self, column: int) -> bool:
        """Whether a column holds words rather than numbers."""
        return column < self.words or column in self.wordy


@dataclasses.dataclass(frozen=True)
class Dot:
    """A point of a plot: where it stands along the axis, its mean with its interval, and the values it comes from."""

    place: int
    estimate: Estimate
    values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Panel:
    """A plot of one metric.

    Attributes:
      title: the metric with its unit.
      note: where the numbers are from.
      axis: what varies along it.
      ticks: its labels, in order.
      series: points, by the label of what else varies; a single empty label where nothing does.
      rates: whether the values are shares in percent, which none can pass 0 or 100.
    """

    title: str
    note: str
    axis: str
    ticks: tuple[str, ...]
    series: Mapping[str, tuple[Dot, ...]]
    rates: bool = False

    @property
    def ordered(self) -> bool:
        """Whether the labels are numbers, so that lines between the points mean something."""
        return are_ordered(self.ticks)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
      name: in addresses, ASCII.
      title: it.
      lead: how to read it.
      tables, panels: what it shows.
    """

    name: str
    title: str
    lead: str = ""
    tables: tuple[Table, ...] = ()
    panels: tuple[Panel, ...] = ()


@dataclasses.dataclass(frozen=True)
class Document:
    """A page.

    Attributes:
      title: its name.
      lead: what it is about, a paragraph each.
      facts: pairs of a word or two and a value.
      sections: its parts.
    """

    title: str
    lead: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def are_ordered(labels: Sequence[str]) -> bool:
    """Whether labels are numbers, and enough of them for a line."""
    return len(labels) > 2 and all(map(_is_number, labels))


def _is_number(label: str) -> bool:
    try:
        float(label.removesuffix("%"))
    except ValueError:
        return False
    return True


def format_entries(*texts: str) -> tuple[Entry, ...]:
    """Plain places of a row."""
    return tuple(Entry(text) for text in texts)


def format_estimate(estimate: Estimate | None, scale: float = 1.0, signed: bool = False) -> str:
    """`52.3 ± 1.1`: a mean and half of its interval, in digits that the interval gives a meaning; a dash for none.

    Args:
      estimate: it.
      scale: 100 where it is told in percent.
      signed: whether a plus is written.
    """
    if estimate is None:
        return DASH
    mean, half = scale * estimate.mean, None if estimate.half is None else scale * estimate.half
    digits = 1 if scale == 100 else decimals(half if half else abs(mean) / 10)
    text = f"{mean:{'+' if signed else ''}.{digits}f}".replace("-", "−")
    return text if half is None else f"{text} ± {half:.{digits}f}"


def decimals(size: float) -> int:
    """Digits behind the point that tell a number of this size with two that matter; at most five."""
    return 3 if size == 0 else min(max(1 - math.floor(math.log10(size * (1 + 1e-9))), 0), 5)


def format_large(value: float | None, unit: str = "") -> str:
    """`1234567` as `1.23 M`; a dash for none."""
    if value is None:
        return DASH
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.3g}{' ' if unit else ''}{unit}"


def bold_best(estimates: Sequence[Estimate | None], higher: bool = True) -> int | None:
    """The place of the best mean; None where fewer than two are known, or they are equal."""
    known = {place: one.mean for place, one in enumerate(estimates) if one is not None}
    if len(set(known.values())) < 2:
        return None
    return (max if higher else min)(known, key=known.__getitem__)
