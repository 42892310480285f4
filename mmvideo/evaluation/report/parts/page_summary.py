"""Summary at the top of the page: the best results with chance and ceiling, and one clip to play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmvideo.evaluation.metrics.captions.caption_metrics import SHORT
from mmvideo.evaluation.report.parts.markup import number, percent, table, tag, text
from mmvideo.evaluation.report.parts.metric_names import by_group, full_label, less_is_better, written
from mmvideo.evaluation.report.parts.metric_tables import bar
from mmvideo.evaluation.report.parts.qualitative import best_find, player
from mmvideo.evaluation.report.run_data import ClipGroup, GalleryQuery

MOST = 8
"""Largest number of rows."""


def summary_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with a row for the best result of each task.

    Args:
      evaluations: By task, the evaluation with all modalities.
    """
    rows = [row for task, found in evaluations.items() for row in _rows(task, found["metrics"])][:MOST]
    head = ["task", "measure", "value", "chance", "ceiling", "clips"]
    return table(head, rows, numbers_from=3) if rows else ""


def _rows(task: str, metrics: Mapping[str, Any]) -> list[list[str]]:
    if task == "retrieval":
        return _retrieval(metrics)
    if task == "zero_shot":
        return _best_of_kinds("zero-shot", metrics, "top1")
    if task == "probes":
        return _best_of_kinds("probe of frozen features", metrics, "linear/accuracy")
    if task == "classification":
        groups = {name: of for name, of in by_group(metrics).items() if "top1" in of or "mAP" in of}
        return [_share(task, name, of, "top1" if "top1" in of else "mAP") for name, of in groups.items()]
    if task == "regression":
        groups = {name: of for name, of in by_group(metrics).items() if "mae" in of}
        return [_plain(task, f"{name}/mae", of["mae"], of.get("chance_mae"), of) for name, of in groups.items()]
    if task == "captioning":
        short = metrics.get("reference_length_mean", SHORT) < SHORT
        names = ("exact_match" if short else "bleu_4", "cider_d")
        return [_plain(task, name, metrics[name], None, metrics) for name in names if name in metrics]
    if task in ("question_answering", "moments"):
        name = "exact_match" if task == "question_answering" else "mAP"
        return [_plain(task, name, metrics[name], None, metrics)] if name in metrics else []
    return []


def _retrieval(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Return R@1 of the two best directions, with equal captions merged; directions with text come first."""
    names = [name.removesuffix("/r@1") for name in metrics if name.endswith("/r@1") and name.count("/") == 1]
    # Directions with text are the ones that papers report.
    chosen = [name for name in names if "text" in name.split("_to_")] or names
    # Equal captions as one, where there are any: otherwise repeated captions would hide what the model knows.
    prefixes = [f"{name}/distinct" if f"{name}/distinct/r@1" in metrics else name for name in chosen]
    rows = []
    for prefix in sorted(prefixes, key=lambda name: -metrics[f"{name}/r@1"])[:2]:
        of = {key: metrics.get(f"{prefix}/{key}") for key in ("r@1", "chance", "oracle", "clips")}
        rows.append(_share("retrieval", prefix, of, "r@1"))
    return rows


def _best_of_kinds(task: str, metrics: Mapping[str, Any], measure: str) -> list[list[str]]:
    """Return, for each kind of label, the row of the modality with the best result, text excepted.

    Text may state the label itself.
    """
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    last = measure.rpartition("/")[2]
    for name, value in metrics.items():
        if name.endswith(f"/{measure}"):
            kind, modality = name.removesuffix(f"/{measure}").split("/")
            prefix = name.removesuffix(last)
            of = {key: metrics.get(prefix + key) for key in ("chance", "clips")}
            oracle = metrics.get(f"{kind}/{modality}/oracle")
            groups.setdefault(kind, {})[modality] = of | {last: value, "oracle": oracle}
    rows = []
    for kind, of in groups.items():
        # `shape/video` at 0.9, `shape/audio` at 0.4 and `shape/text` at 1.0: the row of `shape` shows video.
        modality = max([name for name in of if name != "text"] or of, key=lambda name: of[name][last])
        rows.append(_share(task, f"{kind}/{modality}", of[modality], last))
    return rows


def _share(task: str, group: str, of: Mapping[str, Any], name: str) -> list[str]:
    value, chance, oracle = of.get(name), of.get("chance"), of.get("oracle")
    full = f"{group}/{name}" if group else name
    cells = [bar(value, chance, oracle), percent(chance), percent(oracle), number(of.get("clips"))]
    return [text(task.replace("_", " ")), full_label(full), *cells]


def _plain(task: str, name: str, value: Any, chance: Any, of: Mapping[str, Any]) -> list[str]:
    clips = of.get("clips", of.get("queries"))
    said = written(name, value) + (" (less is better)" if less_is_better(name) else "")
    return [text(task.replace("_", " ")), full_label(name), said, written(name, chance), "–", number(clips)]


def one_clip(gallery: Sequence[GalleryQuery], examples: Sequence[ClipGroup]) -> str:
    """Return a clip to play: a result of the gallery's first query, or the first of the best predictions."""
    found = best_find(gallery)
    if found:
        return found
    for group in examples:
        for judged in group.clips:
            kind = "audio" if judged.clip.frame is None else "video"
            if judged.clip.media is not None:
                words = tag("p", text(" · ".join(judged.lines)), class_="note")
                return tag("div", tag("div", player(kind, judged.clip), class_="clip"), words, class_="one-clip")
    return ""
