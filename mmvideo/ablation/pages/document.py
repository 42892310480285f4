"""A page of results as plain values: facts, sections, tables and plots, the source of Markdown, LaTeX and HTML.

Numbers are already formatted as text, so that they read the same in every format.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mmvideo.ablation.statistics import Estimate

DASH = "–"
"""Text of a missing number: missing is not zero."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
      text: its text, with a newline between lines.
      bold: whether it is the best of its column, or the important part of its row.
      links: pairs of a text and an address, shown instead of `text`.
      code: whether the text consists of names of settings.
    """

    text: str = ""
    bold: bool = False
    links: tuple[tuple[str, str], ...] = ()
    code: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      head: column heads.
      rows: entries by row.
      words: number of columns at the left that hold text.
      groups: heads above columns, each with the number of columns that it spans; an empty text for no head.
      wordy: indices of further columns that hold text.
      note: note on how to read it.
      title: title within a section.
      folded: whether it is shown only on request.
      printed: whether it belongs in a paper; a folded table does not.
    """

    # groups (("", 2), ("ours", 3), ("published", 1)) stand above 6 columns: 2 axes, 3 of ours and a published one.
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
        """Return True if a column holds text rather than numbers."""
        return column < self.words or column in self.wordy


@dataclasses.dataclass(frozen=True)
class Dot:
    """A dot of a plot: its index along the axis, a mean with its interval, and the values behind the mean."""

    place: int
    estimate: Estimate
    values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Panel:
    """A plot of one metric.

    Attributes:
      title: metric with its unit.
      note: source of the values.
      axis: name of the varied setting.
      ticks: labels along the axis, in order.
      series: dots by the labels of all other axes; one empty label without other axes.
      rates: whether the values are percentages, which stay within 0 and 100.
    """

    title: str
    note: str
    axis: str
    ticks: tuple[str, ...]
    series: Mapping[str, tuple[Dot, ...]]
    rates: bool = False

    @property
    def ordered(self) -> bool:
        """True where the ticks are numbers, so that lines between the dots mean something."""
        return are_ordered(self.ticks)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
      name: anchor in addresses, in ASCII.
      title: heading.
      lead: introduction.
      tables, panels: its content.
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
      title: title of the page.
      lead: introduction, one string per paragraph.
      facts: pairs of a short name and a value.
      sections: sections in order.
    """

    title: str
    lead: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def are_ordered(labels: Sequence[str]) -> bool:
    """Return True if the labels are numbers, and at least three, enough for a line."""
    return len(labels) > 2 and all(map(_is_number, labels))


def _is_number(label: str) -> bool:
    """Return True if a label is a number or a percentage."""
    try:
        float(label.removesuffix("%"))
    except ValueError:
        return False
    return True


def format_entries(*texts: str) -> tuple[Entry, ...]:
    """Return plain entries of a row."""
    return tuple(Entry(text) for text in texts)


def format_estimate(estimate: Estimate | None, scale: float = 1.0, signed: bool = False) -> str:
    """Return a mean and half of its interval as text, such as `52.3 ± 1.1`; a dash for None.

    Args:
      estimate: mean and interval.
      scale: display factor; 100 for percent.
      signed: whether to write a plus.
    """
    if estimate is None:
        return DASH
    mean, half = scale * estimate.mean, None if estimate.half is None else scale * estimate.half
    # The interval decides the digits: 0.52347 ± 0.0213 is shown as 0.523 ± 0.021. Without one, three digits of
    # the mean are shown: for 0.52347 they follow from 0.052, so 0.523.
    digits = 1 if scale == 100 else decimals(half if half else abs(mean) / 10)
    text = f"{mean:{'+' if signed else ''}.{digits}f}".replace("-", "−")
    return text if half is None else f"{text} ± {half:.{digits}f}"


def decimals(size: float) -> int:
    """Return the decimals that show two significant digits of a number of this size; at most five."""
    # 0.021 needs 3 decimals, 1.1 needs 1, 35 needs 0. The factor keeps 0.1, computed as 0.0999…, in its own decade.
    return 3 if size == 0 else min(max(1 - math.floor(math.log10(size * (1 + 1e-9))), 0), 5)


def format_large(value: float | None, unit: str = "") -> str:
    """Return a large number with a prefix, `1234567` as `1.23 M`; a dash for None."""
    if value is None:
        return DASH
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.3g}{' ' if unit else ''}{unit}"


def bold_best(estimates: Sequence[Estimate | None], higher: bool = True) -> int | None:
    """Return the index of the best mean; None where fewer than two are known or all are equal."""
    # Means [0.4, None, 0.6] give {0: 0.4, 2: 0.6}, and index 2 where larger is better.
    known = {place: one.mean for place, one in enumerate(estimates) if one is not None}
    if len(set(known.values())) < 2:
        return None
    return (max if higher else min)(known, key=known.__getitem__)
