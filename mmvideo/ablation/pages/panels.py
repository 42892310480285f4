"""The plots of a study: a panel per metric, and separate panels for published columns."""

from __future__ import annotations

from collections.abc import Callable

from mmvideo.ablation.pages import published_columns
from mmvideo.ablation.pages.document import Dot, Panel, are_ordered
from mmvideo.ablation.results import Row, StudyResults
from mmvideo.ablation.statistics import Estimate, estimate
from mmvideo.ablation.suite import Axis, Metric
from mmvideo.evaluation.report.parts.metric_names import is_hundredfold, is_share

PUBLISHED = 2
"""Largest number of published columns that are plotted; the table has all."""


def panels(study: StudyResults) -> list[Panel]:
    """Return the plots of a study, along its first numeric axis or else its first axis, colored by the other axes."""
    found = []
    for metric in study.study.metrics:
        scale = 100.0 if is_hundredfold(metric.key) else 1.0
        unit = " %" if scale == 100 and "%" not in metric.name else ""
        worse = "" if metric.higher else ", less is better"
        found.append(_panel(study, metric.name + unit + worse, "ours", _ours(metric, scale), is_share(metric.key)))
    for column in published_columns.columns(study)[:PUBLISHED]:
        found.append(_panel(study, column.name, f"published: {column.source}", _theirs(column)))
    return [panel for panel in found if panel.series]


def _ours(metric: Metric, scale: float) -> Callable[[Row], tuple[float, ...]]:
    """Return a function from a row to its values by seed."""
    return lambda row: tuple(scale * value for value in row.values(metric).values())


def _theirs(column: published_columns.Column) -> Callable[[Row], tuple[float, ...]]:
    """Return a function from a row to its published value."""

    def values(row: Row) -> tuple[float, ...]:
        number = published_columns.number(row, column)
        return () if number is None else (number,)

    return values


def _panel(
    study: StudyResults, title: str, note: str, values: Callable[[Row], tuple[float, ...]], rates: bool = False
) -> Panel:
    """Return a panel of the rows that have values."""
    # Stable sort by "not numeric": axes kind and layer become layer, kind, so that lines run along the layers.
    axes = [axis.name for axis in sorted(study.study.axes, key=lambda axis: not _is_ordered(axis))]
    ticks = tuple(dict.fromkeys(row.labels[axes[0]] for row in study.rows)) if axes else ("",)
    series: dict[str, list[Dot]] = {_others(row, axes): [] for row in study.rows}
    for row in study.rows:
        found = values(row)
        if found:
            place = ticks.index(row.labels[axes[0]]) if axes else 0
            series[_others(row, axes)].append(Dot(place, _estimate(found), found))
    # A series without a dot keeps its index, and thereby its color, in every panel.
    known = any(series.values())
    axis = axes[0] if axes else ""
    return Panel(title, note, axis, ticks, {name: tuple(dots) for name, dots in series.items()} if known else {}, rates)


def _is_ordered(axis: Axis) -> bool:
    """Return True if the labels of an axis are numbers."""
    return are_ordered([choice.label for choice in axis.choices])


def _estimate(values: tuple[float, ...]) -> Estimate:
    """Return the estimate of at least one value."""
    found = estimate(values)
    assert found is not None
    return found


def _others(row: Row, axes: list[str]) -> str:
    """Return the labels of all axes but the first."""
    return ", ".join(f"{axis} {row.labels[axis]}" for axis in axes[1:])
