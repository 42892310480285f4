"""The table "what each modality adds": the same clips with all modalities, and with every subset of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mmvideo.evaluation.report.parts.metric_names import less_is_better
from mmvideo.stream import MODALITIES

MEASURES: dict[str, tuple[str, ...]] = {
    "classification": ("top1", "mAP"),
    "regression": ("mae",),
    "retrieval": ("distinct/r@1", "r@1"),
    "zero_shot": ("top1",),
    "captioning": ("cider_d",),
    "question_answering": ("exact_match",),
    "moments": ("mAP",),
}
"""Metrics that may represent each task; the first one that was measured does."""

WHOLE = "all"


def subsets(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return every proper subset of modalities, largest first, such as `video+audio` of video, audio and text."""
    ordered = [name for name in MODALITIES if name in modalities]
    # 3 modalities: pairs first (3 of them), then single ones (3); the whole group is not a subset here.
    sizes = range(len(ordered) - 1, 0, -1)
    return tuple("+".join(group) for size in sizes for group in itertools.combinations(ordered, size))


@dataclasses.dataclass(frozen=True)
class ModalityGain:
    """One row of the table.

    Attributes:
      task: Kind of evaluation.
      measure: Name of the metric.
      values: Metric by the modalities that the model saw, `all` for all of them; None if the model can't answer.
      adds: By modality, the gain of all modalities over all but this one; None if either is unknown.
    """

    task: str
    measure: str
    values: dict[str, float | None]
    adds: dict[str, float | None]


def gains_by_modality(variants: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[ModalityGain]:
    """Return the rows of the table.

    Args:
      variants: Metrics by task and by the modalities that the model saw, such as `all` or `video+text`. Tasks without a
        measurement with all modalities are left out.
    """
    rows = []
    for task, metrics in variants.items():
        if task not in MEASURES or WHOLE not in metrics:
            continue
        named = {one for shown in metrics if shown != WHOLE for one in shown.split("+")}
        modalities = [name for name in MODALITIES if name in named]
        for measure in _measures(task, metrics[WHOLE]):
            values = {shown: found.get(measure) for shown, found in metrics.items()}
            adds = {one: _difference(measure, values, _without(one, modalities)) for one in modalities}
            rows.append(ModalityGain(task, measure, values, adds))
    return rows


def _measures(task: str, metrics: Mapping[str, Any]) -> list[str]:
    """Return the metric that represents each objective or direction: the first of `MEASURES` that exists."""
    chosen: dict[str, str] = {}
    for last in MEASURES[task]:
        for name in metrics:
            group = name.removesuffix(last).rstrip("/")
            whole = f"{group}/{last}" if group else last
            # Variants such as `text_to_video/dsl/r@1` do not represent their direction.
            if name == whole and (group.count("/") == (1 if task == "zero_shot" else 0)):
                chosen.setdefault(group, name)
    return list(chosen.values())


def _without(modality: str, modalities: Sequence[str]) -> str:
    return "+".join(name for name in modalities if name != modality)


def _difference(measure: str, values: Mapping[str, float | None], rest: str) -> float | None:
    whole, less = values.get(WHOLE), values.get(rest)
    if whole is None or less is None:
        return None
    # An error of 0.8 without audio and 0.6 with it: audio adds 0.2, a gain in both directions of "better".
    return less - whole if less_is_better(measure) else whole - less


def table_lines(rows: Sequence[ModalityGain]) -> list[str]:
    """Return the table as lines of text, with shares from 0 to 1; a dash where the model can't answer."""
    if not rows:
        return []
    shown = list(dict.fromkeys(name for row in rows for name in row.values))
    modalities = list(dict.fromkeys(name for row in rows for name in row.adds))
    width = {name: max(len(name), 6) + 2 for name in shown}
    width |= {f"+{name}": max(len(name) + 1, 7) + 2 for name in modalities}
    title = "what each modality adds"
    label = max(len(title), *(len(row.measure) for row in rows)) + 1
    lines = [f"{title:<{label}}" + "".join(f"{name:>{size}}" for name, size in width.items())]
    for row in rows:
        cells = [_cell(row.values.get(name), width[name], "") for name in shown]
        cells += [_cell(row.adds.get(name), width[f"+{name}"], "+") for name in modalities]
        lines.append(f"{row.measure:<{label}}" + "".join(cells))
    return lines


def _cell(value: float | None, width: int, sign: str) -> str:
    return f"{'–':>{width}}" if value is None else f"{value:>{sign}{width}.3f}"
