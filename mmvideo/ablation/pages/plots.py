"""Plots of results: a dot per mean with its interval, and a stroke per seed; as PNG for a README, as SVG for a page.

The value axis does not begin at zero, so there are no bars, whose lengths would mislead.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmvideo.ablation.pages.document import Dot, Panel, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2b63d9", "#d0571b", "#12804a", "#7c4fc4", "#b98900", "#0c8a9b", "#969dab")
"""Colors of series on the light page; the dark page has its own."""
MARKERS = "osD^vPX"
INK, DIM, LINE = "#1b1f27", "#646b79", "#dfe2e8"

VARIABLES = dict(zip(COLOURS, ("--c1", "--c2", "--c4", "--c5", "--c3", "--c6", "--c7"), strict=True)) | {
    INK: "--ink",
    DIM: "--dim",
    LINE: "--line",
}
"""CSS variables of these colors in the style of the page."""

STYLE = {
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": DIM,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    # Text stays text, which takes the font of the page and can be searched.
    "svg.fonttype": "none",
}

WIDTH = 3.5
"""Width of a panel in inches."""


def svg(panel: Panel) -> str:
    """Return a panel as inline SVG that follows the colors of the page; the page shows the title."""
    import matplotlib

    # A fixed salt and no date: the same results give the same bytes, and committed pages do not change.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": panel.title + panel.note}):
        figure = _figure(WIDTH, _height(panel))
        _draw(figure.subplots(), panel)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), f"{panel.title} by {panel.axis}")


def png(path: Path, sections: Sequence[Section]) -> bool:
    """Write all panels as one PNG, a band per section; return False if there are no panels."""
    import matplotlib

    shown = [section for section in sections if section.panels]
    if not shown:
        return False
    # 0.75 inches are for the title of a band and its legend.
    heights = [max(_height(panel) for panel in section.panels) + 0.75 for section in shown]
    columns = max(len(section.panels) for section in shown)
    with matplotlib.rc_context(STYLE):
        figure = _figure(WIDTH * max(columns, 2), sum(heights))
        bands = figure.subfigures(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
        for band, section in zip(bands, shown, strict=True):
            _band(band, section, columns)
        figure.savefig(path, dpi=160, facecolor="white", format="png")
    return True


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure. It is made without pyplot, which would keep every figure in memory."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _band(band: Any, section: Section, columns: int) -> None:
    """Draw the panels of a section side by side, below its title, with a legend."""
    band.suptitle(section.title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    places = band.subplots(1, columns, squeeze=False)[0]
    for axes, panel in zip(places, section.panels, strict=False):
        _draw(axes, panel)
        axes.set_title(f"{panel.title}\n{panel.note}" if panel.note else panel.title)
    for axes in places[len(section.panels) :]:
        axes.set_axis_off()
    names = list(dict.fromkeys(name for panel in section.panels for name in panel.series if name))
    if names:
        handles = [_handle(place) for place in range(len(names))]
        band.legend(handles, names, loc="outside lower left", ncols=min(len(names), 5), labelcolor=DIM)


def _handle(place: int) -> Any:
    """Return the legend marker of a series."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour(place), marker=MARKERS[place % len(MARKERS)], linestyle="", markersize=5)


def colour(place: int) -> str:
    """Return the color of a series by its index."""
    return COLOURS[place % len(COLOURS)]


def _height(panel: Panel) -> float:
    """Return the height of a panel in inches: text labels are listed from top to bottom and need more."""
    if panel.ordered:
        return 2.4
    each = max(0.12 * (len(panel.series) + 1), 0.17 * max(_wrapped(tick).count("\n") + 1 for tick in panel.ticks))
    return max(0.75 + each * len(panel.ticks), 1.5)


def _wrapped(label: str) -> str:
    """Return a label in short lines, so that space is left for the plot."""
    return textwrap.fill(label, 20)


def _draw(axes: Axes, panel: Panel) -> None:
    """Draw a panel: lines over a numeric axis, or rows with text labels at the left, which may be long."""
    (_lines if panel.ordered else _rows)(axes, panel)
    if panel.rates:
        low, high = axes.get_ylim() if panel.ordered else axes.get_xlim()
        (axes.set_ylim if panel.ordered else axes.set_xlim)(max(low, 0.0), min(high, 100.0))


def _lines(axes: Axes, panel: Panel) -> None:
    """Draw dots joined by lines, with the axis from left to right."""
    shift = 0.06
    for place, dots in enumerate(panel.series.values()):
        # Series side by side so that intervals do not overlap: with two series, tick 3 has dots at 2.97 and 3.03.
        across = [dot.place + shift * (place - (len(panel.series) - 1) / 2) for dot in dots]
        means, halves = [dot.estimate.mean for dot in dots], _halves(dots, panel.rates)
        axes.errorbar(
            across, means, yerr=halves, clip_on=not panel.rates, **_look(place), linewidth=1.4, elinewidth=1.2
        )
        for x, dot in zip(across, dots, strict=True):
            axes.scatter([x] * len(dot.values), dot.values, marker="_", **_stroke(place))
    axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    axes.set_xlabel(panel.axis)
    axes.margins(x=0.08)


def _rows(axes: Axes, panel: Panel) -> None:
    # Series share 0.7 of a row: with two of them, row 3 has dots at 2.825 and 3.175.
    """Draw dots in rows, with the axis from top to bottom."""
    step = 0.7 / max(len(panel.series), 1)
    for place, dots in enumerate(panel.series.values()):
        down = [dot.place + step * (place - (len(panel.series) - 1) / 2) for dot in dots]
        means, halves = [dot.estimate.mean for dot in dots], _halves(dots, panel.rates)
        axes.errorbar(means, down, xerr=halves, clip_on=not panel.rates, **_look(place), linestyle="", elinewidth=1.4)
        for y, dot in zip(down, dots, strict=True):
            axes.scatter(dot.values, [y] * len(dot.values), marker="|", **_stroke(place))
    axes.set_yticks(range(len(panel.ticks)), [_wrapped(tick) for tick in panel.ticks])
    # From large to small, so that the first row is at the top.
    axes.set_ylim(len(panel.ticks) - 0.5, -0.5)
    axes.set_ylabel(panel.axis)
    axes.grid(axis="y", visible=False)


def _halves(dots: Sequence[Dot], rates: bool) -> list[list[float]]:
    """Return the lengths of the intervals below and above the means; those of percentages end at 0 and 100."""
    means, halves = [dot.estimate.mean for dot in dots], [_half(dot) for dot in dots]
    if not rates:
        return [halves, halves]
    pairs = list(zip(means, halves, strict=True))
    # A half that is not a number stays one: it is the first of the two.
    return [
        # 98 ± 5 is drawn from 93 to 100. A half that is NaN stays NaN, since min returns its first argument then.
        [min(half, max(mean, 0.0)) for mean, half in pairs],
        [min(half, max(100.0 - mean, 0.0)) for mean, half in pairs],
    ]


def _half(dot: Dot) -> float:
    """Return half of the interval; NaN, which is not drawn, where there is none."""
    return math.nan if dot.estimate.half is None else dot.estimate.half


def _look(place: int) -> dict[str, Any]:
    """Return the style of a mean."""
    return {"color": colour(place), "marker": MARKERS[place % len(MARKERS)], "markersize": 4.5, "capsize": 2.5}


def _stroke(place: int) -> dict[str, Any]:
    """Return the style of a single seed."""
    return {"color": colour(place), "s": 26, "alpha": 0.6, "linewidths": 1.0}


def _inline(text: str, said: str) -> str:
    """Return an SVG without the parts of a standalone file, and with the page's color variables."""
    from mmvideo.evaluation.report.parts.markup import text as escaped

    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", body)
    # Ids may clash between the SVGs of a page: those that nothing refers to are removed.
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r'<svg width="[^"]*" height="[^"]*"', f'<svg role="img" aria-label="{escaped(said)}"', body, count=1)
    body = re.sub(r"<svg[^>]*>", lambda found: re.sub(r' (?:width|height)="[^"]*"', "", found[0]), body, count=1)
    body = re.sub(r"font: ?([\d.]+px)[^;\"]*", r"font-size: \1", body)
    # A marker inherits its color where it is used; the page's rule for paths would leave it hollow.
    body = re.sub(r'(<path id="[^>]*?style=")', r"\1fill: inherit; ", body)
    for own, variable in VARIABLES.items():
        body = body.replace(own, f"var({variable})")
    return re.sub(r"\n\s*", "\n", body).strip()
