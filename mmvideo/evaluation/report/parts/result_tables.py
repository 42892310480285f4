"""Tables of the results of a fine-tuned model: by objective, by length of moment, by modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmvideo.evaluation.metrics.captions.caption_metrics import SHORT
from mmvideo.evaluation.report.modality_gains import ModalityGain
from mmvideo.evaluation.report.parts.markup import number, percent, table, tag, text
from mmvideo.evaluation.report.parts.metric_names import (
    best,
    by_group,
    full_label,
    group_label,
    headline,
    known,
    label,
    written,
)
from mmvideo.evaluation.report.parts.metric_tables import bar

SINGLE: tuple[str, ...] = (
    "top1", "top5", "class_mean_accuracy", "class_mean_recall@5", "macro_f1", "mAP", "auc", "d_prime", "chance",
    "p_value", "clips", "left_out", "ties",
)  # fmt: skip
SEVERAL: tuple[str, ...] = (
    "mAP", "micro_ap", "auc", "d_prime", "macro_f1", "micro_f1", "macro_precision", "macro_recall", "clips", "left_out",
)  # fmt: skip
NUMBERS: tuple[str, ...] = (
    "mae", "chance_mae", "pearson", "acc2_nonneg", "acc2_posneg", "f1_nonneg", "f1_posneg",
    "f1_nonneg_by_answers", "f1_posneg_by_answers", "acc7", "clips", "left_out",
)  # fmt: skip
FACTS = "facts/"
"""Prefix of the metrics of facts in captions."""

_LENGTHS = {"": "all", "short": "at most 10 s", "middle": "10 to 30 s", "long": "more than 30 s"}
_MOMENTS = ("r1@0.3", "r1@0.5", "r1@0.7", "mAP@0.5", "mAP@0.75", "mAP", "mIoU", "queries")
_NAMED = 12
_HIGHLIGHTS = {"fair": "Fair and better", "good": "Good and better", "very_good": "Very Good"}


def objective_table(metrics: Mapping[str, Any]) -> str:
    """Return a row for each objective, in tables for one label, several labels, and numbers; the rest is collapsed."""
    kinds: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for group, of in by_group(metrics).items():
        # A metric that only one kind has tells the kind: top1 is of one label, mae of numbers.
        kinds.setdefault(SINGLE if "top1" in of else NUMBERS if "mae" in of else SEVERAL, {})[group] = of
    tables = []
    shown = set()
    for columns, groups in kinds.items():
        have = [name for name in columns if any(name in of for of in groups.values())]
        rows = [[tag("b", text(group or "all")), *(_value(of, name) for name in have)] for group, of in groups.items()]
        tables.append(table(["", *map(label, have)], rows))
        # Everything that no column shows goes to the collapsed list below.
        shown |= {f"{group}/{name}" if group else name for group in groups for name in have}
    return "".join(tables) + _folded({name: value for name, value in metrics.items() if name not in shown})


def _value(of: Mapping[str, Any], name: str) -> str:
    """Return a cell; top-1, and the mAP of several labels, have a bar."""
    if name == "top1" or (name == "mAP" and "top1" not in of):
        return bar(of.get(name), of.get("chance"))
    return written(name, of.get(name))


def metric_table(metrics: Mapping[str, Any]) -> str:
    """Return a row of the metrics that papers report, and one of facts in captions; the rest is collapsed."""
    facts = [name for name in metrics if name.startswith(FACTS)]
    main = [name for name in metrics if known(name)] or [name for name in metrics if name not in facts]
    if metrics.get("reference_length_mean", SHORT) < SHORT:
        # Short references have few longer n-grams: BLEU-2 to 4 would be noise.
        main = [name for name in main if name not in ("bleu_2", "bleu_3", "bleu_4")]
    row = table([full_label(name) for name in main], [[written(name, metrics[name]) for name in main]], len(main))
    return row + _facts(metrics, facts) + _folded({n: v for n, v in metrics.items() if n not in main + facts})


def _facts(metrics: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the share of captions that state each fact like the first reference; empty without facts."""
    if not names:
        return ""
    titles = [text(name.removeprefix(FACTS).replace("+", ", ") + " %") for name in names]
    return table(["facts", *titles], [["in the captions", *(percent(metrics[name]) for name in names)]])


def _folded(metrics: Mapping[str, Any]) -> str:
    """Return names and values in a collapsed table."""
    rows = [[full_label(name), written(name, value)] for name, value in metrics.items()]
    return tag("details", tag("summary", "More metrics"), table(["metric", "value"], rows)) if rows else ""


def moment_tables(metrics: Mapping[str, Any]) -> str:
    """Return tables of windows by the length of the true ones, and of highlights by their lowest saliency."""
    groups = by_group(metrics)
    have = [(name, said) for name, said in _LENGTHS.items() if "mAP" in groups.get(name, {})]
    shown = [name for name in _MOMENTS if any(name in groups[group] for group, _ in have)]
    rows = [[text(said), *(written(name, groups[group].get(name)) for name in shown)] for group, said in have]
    whole = table(["true moments", *map(label, shown)], rows)
    levels = [
        (groups[f"highlight/{name}"], said) for name, said in _HIGHLIGHTS.items() if f"highlight/{name}" in groups
    ]
    if not levels:
        return whole
    rows = [[text(said), written("mAP", of.get("mAP")), written("hit1", of.get("hit1"))] for of, said in levels]
    return whole + tag("h3", "Highlights") + table(["saliency of a highlight", "mAP %", "HIT@1 %"], rows)


def ablation_table(kind: str, variants: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the same metrics side by side; the best of each row is bold.

    Args:
      kind: Kind of evaluation.
      variants: Metrics by the modalities that the model saw.
    """
    names = dict.fromkeys(name for metrics in variants.values() for name in metrics)
    main = [name for name in names if headline(kind, name)]
    rest = [name for name in names if name not in main]
    whole = _side_by_side(main or rest, variants)
    if not (main and rest):
        return whole
    return whole + tag("details", tag("summary", "Every metric"), _side_by_side(rest, variants))


def added_table(rows: Sequence[ModalityGain]) -> str:
    """Return a row for each metric: its value by modalities, and the gain of all modalities over all but one."""
    if not rows:
        return ""
    shown = list(dict.fromkeys(name for row in rows for name in row.values))
    modalities = list(dict.fromkeys(name for row in rows for name in row.adds))
    body = [
        [
            full_label(row.measure),
            *(written(row.measure, row.values.get(name)) for name in shown),
            *(_signed(row.measure, row.adds.get(name)) for name in modalities),
        ]
        for row in rows
    ]
    head = ["", *map(text, shown), *(text(f"{name} adds") for name in modalities)]
    return tag("h3", "What each modality adds") + table(head, body)


def _signed(name: str, value: float | None) -> str:
    said = written(name, value)
    return f"+{said}" if value is not None and value > 0 else said


def _side_by_side(names: Sequence[str], variants: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each metric, grouped by objective."""
    rows, above = [], None
    for name in names:
        values = [metrics.get(name) for metrics in variants.values()]
        top = best(name, values)
        cells = [
            tag("b", written(name, value)) if top is not None and value == top else written(name, value)
            for value in values
        ]
        group = group_label(name)
        rows.append([tag("b", text(group)) if group != above else "", text(label(name)), *cells])
        above = group
    grouped = any(group_label(name) for name in names)
    rows = rows if grouped else [row[1:] for row in rows]
    head = ["", ""] if grouped else [""]
    return table([*head, *map(text, variants)], rows, len(head), group=grouped)


def protocol_note(protocol: Mapping[str, Any]) -> str:
    """Return the protocol of the measurement, collapsed."""
    rows = [[text(name), text(said)] for name, said in protocol.items()]
    return tag("details", tag("summary", "Protocol"), table(["", ""], rows, 9)) if rows else ""


def absent_note(details: Mapping[str, Any]) -> str:
    """Return a note of the classes without clips."""
    absent, classes = details.get("absent", ()), details.get("classes", ())
    if not absent:
        return ""
    named = ", ".join(map(text, absent[:_NAMED])) + (" …" if len(absent) > _NAMED else "")
    said = (
        f"{number(len(absent))} of {number(len(classes))} classes have no clip and are left out of means over classes"
    )
    return tag("p", f"{said}: {named}", class_="note")
