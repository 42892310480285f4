"""Precision-recall curves, and scatter plots of predicted against true numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmvideo.evaluation.report.parts.curves import HEIGHT, WIDTH, Frame, nice_ticks
from mmvideo.evaluation.report.parts.markup import number, percent, tag, text

_LINES = 3


def pr_charts(details: Mapping[str, Any]) -> str:
    """Return the curves of the best, the middle and the worst classes, three in a chart."""
    curves = list(details.get("pr_curves", {}).items())
    groups = [curves[first : first + _LINES] for first in range(0, len(curves), _LINES)]
    return tag("div", *(_pr_chart(group) for group in groups), class_="charts") if groups else ""


def _pr_chart(curves: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    frame = Frame(0.0, 1.0, 0.0, 1.0)
    lines = [frame.grid([0.0, 0.25, 0.5, 0.75, 1.0])]
    keys = []
    for place, (name, curve) in enumerate(curves, 1):
        recall, precision = (np.asarray(curve[axis], float) for axis in ("recall", "precision"))
        # A curve starts at the recall of its first point; the part before it gets the precision of that point.
        recall, precision = np.append(0.0, recall), np.append(precision[:1], precision)
        lines.append(frame.line(recall, precision, f"pr line-{place}"))
        key = tag("i", class_=f"key-{place}") + text(name)
        keys.append(tag("span", f"{key} · AP {percent(curve['average_precision'])} %"))
    ranks = [curve["rank"] for _, curve in curves]
    title = tag("b", f"Rank {ranks[0]} to {ranks[-1]} by AP" if len(ranks) > 1 else f"Rank {ranks[0]} by AP")
    said = "precision over recall of " + ", ".join(name for name, _ in curves)
    picture = tag("svg", *lines, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)
    return tag("figure", tag("figcaption", title, *keys, class_="keys"), picture, class_="chart")


def scatter(details: Mapping[str, Any], title: str) -> str:
    """Return predicted numbers (vertical) against true ones (horizontal), with the line of perfect predictions."""
    if not details.get("truth"):
        return ""
    truth, predicted = (np.asarray(details[name], float) for name in ("truth", "predicted"))
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    low, high = (low - 0.04 * (high - low), high + 0.04 * (high - low)) if high > low else (low - 1.0, high + 1.0)
    ticks = [tick for tick in nice_ticks(low, high, 6) if low <= tick <= high]
    frame = Frame(low, high, low, high)
    ends = np.asarray([low, high])
    dots = [
        tag("circle", cx=f"{frame.x(x):.1f}", cy=f"{frame.y(y):.1f}", r=2.4, class_="dot")
        for x, y in zip(truth, predicted, strict=True)
    ]
    picture = tag(
        "svg", frame.grid(ticks), frame.line(ends, ends, "baseline"), *dots,
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{title}: predicted against true numbers",
    )  # fmt: skip
    note = f"predicted over true, {number(details['shown'])} of {number(details['clips'])} clips"
    key = tag("span", tag("span", class_="dash"), " a perfect prediction")
    return tag("figure", tag("figcaption", tag("b", text(title)), tag("span", note), key), picture, class_="chart")
