"""The page of compared runs, also as CSV and JSON: config differences, metrics and cost."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import statistics
from pathlib import Path
from typing import Any

from mmvideo.ablation.compare_runs import Column, Comparison, estimates, gains
from mmvideo.ablation.pages.document import (
    DASH,
    Document,
    Dot,
    Entry,
    Panel,
    Section,
    Table,
    bold_best,
    format_entries,
    format_estimate,
    format_large,
)
from mmvideo.ablation.pages.result_files import write_files
from mmvideo.ablation.pages.setting_labels import written
from mmvideo.ablation.statistics import Estimate, estimate
from mmvideo.evaluation.report.parts.markup import duration
from mmvideo.evaluation.report.parts.metric_names import is_hundredfold, is_share, less_is_better

PLOTTED = 6
"""Largest number of headline metrics that are plotted."""


def document(comparison: Comparison) -> Document:
    """Return the page: config differences first."""
    columns = comparison.columns
    sections = [_settings(comparison), _metrics(comparison)]
    # An interval of gains needs two seeds that a column shares with the first.
    if any(gain is not None and gain.half is not None for gain in gains(comparison, comparison.metrics[0])):
        sections.append(_gains(comparison))
    facts = (
        ("runs", str(sum(len(column.runs) for column in columns))),
        ("columns", str(len(columns))),
        ("metrics in all", str(len(comparison.metrics))),
        ("metrics in some only", str(comparison.others)),
    )
    title = " against ".join(column.name for column in columns) if len(columns) < 4 else f"{len(columns)} settings"
    return Document(title, tuple(comparison.remarks), facts, (*sections, _cost(comparison), _runs(comparison)))


def _settings(comparison: Comparison) -> Section:
    """Return the section of the fields in which the columns differ."""
    rows = [
        (Entry(field, code=True), *format_entries(*(written(values.get(column.name)) for column in comparison.columns)))
        for field, values in comparison.differences.items()
    ]
    lead = "" if rows else "The runs differ in nothing but their seeds."
    head = ("field", *(column.name for column in comparison.columns))
    return Section("config", "Config differences", lead, (Table(head, tuple(rows), len(head)),) if rows else ())


def _metrics(comparison: Comparison) -> Section:
    """Return the section of the metrics that all columns have, headlines first."""
    head = ("metric", *_heads(comparison))
    rows = []
    for number, metric in enumerate(comparison.metrics):
        found = estimates(comparison, metric)
        # Only headline metrics have a known direction; the others may be counts.
        first = bold_best(found, not _less(metric)) if number < comparison.headlines else None
        row = [Entry(format_estimate(one, _scale(metric)), place == first) for place, one in enumerate(found)]
        rows.append((Entry(label(metric)), *row))
    tables = [Table(head, tuple(rows[: comparison.headlines]))] if comparison.headlines else []
    rest = tuple(rows[comparison.headlines :])
    if rest:
        tables.append(Table(head, rest, title="Other metrics" if tables else "", folded=bool(tables)))
    lead = "Means over seeds ± half of their 95 % interval (Student’s t); bold is the best mean."
    panels = tuple(_panel(comparison, metric) for metric in comparison.metrics[: comparison.headlines][:PLOTTED])
    return Section("metrics", "Metrics", lead, tuple(tables), panels)


def _gains(comparison: Comparison) -> Section:
    """Return the section of differences from the first column, seed by seed."""
    first, *others = comparison.columns
    rows = []
    for metric in comparison.metrics[: comparison.headlines] or comparison.metrics:
        found = [format_estimate(gain, _scale(metric), signed=True) for gain in gains(comparison, metric)]
        rows.append(format_entries(label(metric), *found))
    lead = (
        f"What each has more than {first.name}, as differences of runs of one seed with their 95 % interval: one that "
        "does not contain 0 tells the two apart."
    )
    table = Table(("metric", *(column.name for column in others)), tuple(rows))
    return Section("differences", f"Differences from {first.name}", lead, (table,))


def _cost(comparison: Comparison) -> Section:
    """Return the section of planned and measured costs."""
    head = ("", *(column.name for column in comparison.columns))
    rows = [format_entries(name, *told) for name, told in cost_rows(comparison).items()]
    note = "As planned: FLOPs, forward and backward, and parameters. Measured, in the median over runs: the rest."
    return Section("cost", "Cost", "", (Table(head, tuple(rows), note=note),))


def cost_rows(comparison: Comparison) -> dict[str, list[str]]:
    """Return the cost of the runs of each column as text, by row name."""
    rows: dict[str, list[str]] = {}
    for column in comparison.columns:
        planned = comparison.planned.get(column.name)
        used = _median(column, "device_bytes")
        # Measured memory where the device reports it, else the planned memory, marked as such.
        size = used if used is not None else planned.bytes if planned else None
        kind = "" if used is not None else " (planned)"
        seconds = _median(column, "seconds")
        row = {
            "steps": f"{column.runs[0].experiment.training.steps:,}",
            "train FLOPs": format_large(planned.flops if planned else None),
            "parameters": format_large(planned.parameters if planned else None),
            "clips/s": format_large(_median(column, "clips_per_second")),
            "GiB on a device": DASH if size is None else f"{size / 2**30:.3g}{kind}",
            "time": duration(seconds) if seconds else DASH,
        }
        for name, value in row.items():
            # Grows by a column at a time: {"steps": ["160", "1,600"], "time": ["2 min", "21 min"]}.
            rows.setdefault(name, []).append(value)
    return rows


def _median(column: Column, name: str) -> float | None:
    """Return the median of a measurement over a column's runs; None where no run has it."""
    known = [value for run in column.runs if (value := getattr(run.record, name)) is not None]
    return statistics.median(known) if known else None


def _runs(comparison: Comparison) -> Section:
    """Return the section of the runs and their workdirs."""
    rows = [
        format_entries(column.name, str(run.seed), str(run.workdir), str(run.record.step))
        for column in comparison.columns
        for run in column.runs
    ]
    table = Table(("column", "seed", "workdir", "steps"), tuple(rows), words=1, wordy=(2,))
    return Section("runs", "Runs", "", (dataclasses.replace(table, title="Workdirs", folded=True),))


def _heads(comparison: Comparison) -> list[str]:
    """Return the column heads, with the number of runs where it is not one."""
    counts = [(column.name, len(column.runs)) for column in comparison.columns]
    return [name if count == 1 else f"{name} (n = {count})" for name, count in counts]


def _scale(metric: str) -> float:
    """Return the display factor of a metric: 100 for fractions that are shown in percent."""
    return 100.0 if is_hundredfold(metric) else 1.0


def _less(metric: str) -> bool:
    """Return True if smaller values are better: known metrics, and any name that ends in `loss`."""
    return less_is_better(metric) or metric.endswith("loss")


def label(metric: str) -> str:
    """Return the name of a metric with its unit, and an arrow where smaller values are better."""
    return metric + (" %" if _scale(metric) == 100 else "") + (" ↓" if _less(metric) else "")


def _panel(comparison: Comparison, metric: str) -> Panel:
    """Return the plot of a metric: one tick per column, one dot for its mean."""
    scale, dots = _scale(metric), []
    for place, column in enumerate(comparison.columns):
        values = tuple(scale * value for value in column.values(metric))
        found = estimate(values)
        if found is not None:
            dots.append(Dot(place, found, values))
    return Panel(
        label(metric), "", "", tuple(column.name for column in comparison.columns), {"": tuple(dots)}, is_share(metric)
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values for JSON."""
    return {
        "columns": {column.name: _as_json(comparison, column) for column in comparison.columns},
        "differences": comparison.differences,
        "headlines": list(comparison.metrics[: comparison.headlines]),
        "metrics": {
            metric: {
                column.name: _estimate(found) | {"values": column.values(metric)}
                for column, found in zip(comparison.columns, estimates(comparison, metric), strict=True)
            }
            for metric in comparison.metrics
        },
        "remarks": comparison.remarks,
    }


def _as_json(comparison: Comparison, column: Column) -> dict[str, Any]:
    """Return the runs and the cost of one column."""
    planned = comparison.planned.get(column.name)
    cost = {name: _median(column, name) for name in ("clips_per_second", "device_bytes", "seconds")}
    cost |= {name: getattr(planned, name) if planned else None for name in ("flops", "parameters")}
    cost["planned_device_bytes"] = planned.bytes if planned else None
    return {"runs": {str(run.workdir): run.seed for run in column.runs}, "cost": cost}


def _estimate(found: Estimate | None) -> dict[str, Any]:
    """Return an estimate as plain values; empty without one."""
    return {} if found is None else {"mean": found.mean, "half": found.half, "n": found.seeds}


def spreadsheet(comparison: Comparison) -> str:
    """Return CSV with a row per run: column, seed, workdir, cost and all shared metrics; missing values are empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    told = ("step", "clips_per_second", "device_bytes", "seconds")
    writer.writerow(["column", "seed", "workdir", *told, *comparison.metrics])
    for column in comparison.columns:
        for run in column.runs:
            measured = [getattr(run.record, name) for name in told]
            metrics = [run.record.metrics.get(metric) for metric in comparison.metrics]
            # Ten significant digits: bytes below 10 GB are exact.
            numbers = ["" if value is None else f"{value:.10g}" for value in (*measured, *metrics)]
            writer.writerow([column.name, run.seed, run.workdir, *numbers])
    return file.getvalue()


def write_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Write the page in all formats, its CSV and comparison.json; return the path of `index.html`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(as_json(comparison), indent=1) + "\n", encoding="utf-8")
    return write_files(document(comparison), spreadsheet(comparison), folder)
