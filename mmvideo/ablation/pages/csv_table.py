"""The results of a tier as CSV: a row per cell and seed with all measurements; missing values are empty."""

from __future__ import annotations

import csv
import io
from typing import Any

from mmvideo.ablation.results import CellOutcome, Results, Row

FIRST = ("status", "why", "place", "commit", "machine")
COST = ("train_flops", "parameters", "planned_device_bytes", "device_bytes", "clips_per_second", "seconds")


def spreadsheet(results: Results) -> str:
    """Return the CSV.

    A row has the axes, how the cell ended, its cost, the study's columns in the unit of the metric, then all metrics.
    Columns of the same name in several studies are one column; metrics are `EVALUATION/KEY`.
    """
    # One head for all studies, in order of first use: axes ("kind", "layer") and ("kind", "width") give
    # kind, layer, width, and a study leaves the cells of axes that it lacks empty.
    axes = list(dict.fromkeys(axis.name for one in results.studies for axis in one.study.axes))
    columns = list(dict.fromkeys(metric.name for one in results.studies for metric in one.study.metrics))
    records = [outcome.record.metrics for outcome in results.outcomes if outcome.record]
    metrics = sorted({name for record in records for name in record})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["study", *(f"axis {axis}" for axis in axes), "seed", *FIRST, *COST, *columns, *metrics])
    for one in results.studies:
        for row in one.rows:
            for outcome in row.cells:
                own = {metric.name: outcome.value(metric) for metric in one.study.metrics}
                # Both forms: the study's columns under their short names, then every metric as EVALUATION/KEY.
                all_of_it = outcome.record.metrics if outcome.record else {}
                writer.writerow(
                    [one.study.name, *(row.labels.get(axis, "") for axis in axes), outcome.cell.seed]
                    # Of these names only `place` is an attribute of the cell rather than of its outcome.
                    + [getattr(outcome, name) if hasattr(outcome, name) else outcome.cell.place for name in FIRST]
                    + [_number(value) for value in _cost(row, outcome)]
                    + [_number(own.get(name)) for name in columns]
                    + [_number(all_of_it.get(name)) for name in metrics]
                )
    return file.getvalue()


def _cost(row: Row, outcome: CellOutcome) -> list[Any]:
    """Return the values of the columns `COST`."""
    planned, record = row.planned, outcome.record
    told = [planned.flops, planned.parameters, planned.bytes] if planned else [None] * 3
    return [*told, *([record.device_bytes, record.clips_per_second] if record else [None] * 2), outcome.seconds]


def _number(value: float | None) -> str:
    """Return eight significant digits, more than any metric has."""
    return "" if value is None else f"{value:.8g}"
