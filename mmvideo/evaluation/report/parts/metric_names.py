"""Labels of metrics on the page, and format of their values."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from mmvideo.evaluation.report.parts.markup import number, p_value, percent, text

_SHARES: dict[str, str] = {
    "top1": "top-1",
    "top5": "top-5",
    "class_mean_accuracy": "class-mean accuracy",
    "class_mean_recall@5": "class-mean recall@5",
    "accuracy": "accuracy",
    "macro_accuracy": "accuracy, per class",
    "macro_precision": "precision, macro",
    "macro_recall": "recall, macro",
    "macro_f1": "F1, macro",
    "micro_precision": "precision, micro",
    "micro_recall": "recall, micro",
    "micro_f1": "F1, micro",
    "weighted_precision": "precision, weighted",
    "weighted_recall": "recall, weighted",
    "weighted_f1": "F1, weighted",
    "mAP": "mAP",
    "mAP@0.5": "mAP@0.5",
    "mAP@0.75": "mAP@0.75",
    "mIoU": "mean IoU",
    "micro_ap": "AP, micro",
    "chance": "chance",
    "acc2_nonneg": "Acc-2, − / not −",
    "f1_nonneg": "F1, − / not −",
    "f1_nonneg_by_answers": "F1, − / not −, weighted by predictions",
    "acc2_posneg": "Acc-2, − / +",
    "f1_posneg": "F1, − / +",
    "f1_posneg_by_answers": "F1, − / +, weighted by predictions",
    "acc7": "Acc-7",
    "hit1": "HIT@1",
    "exact_match": "exact match",
}
_OTHERS: dict[str, str] = {
    "auc": "AUC",
    "d_prime": "d′",
    "mae": "MAE",
    "chance_mae": "MAE of the median",
    "pearson": "Pearson r",
    "p_value": "p",
    "clips": "clips",
    "left_out": "left out",
    "ties": "ties",
    "classes": "classes",
    "absent_classes": "absent classes",
    "queries": "queries",
    "unanswered": "without a prediction",
}
_HUNDREDS: dict[str, str] = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "cider_d": "CIDEr-D",
    "meteor": "METEOR",
    "spice": "SPICE",
    "soda_c": "SODA_c",
}
_RECALLS = ("r@*", "r1@*")
_LESS_IS_BETTER = ("mae", "*_rank", "p_value")

HEADLINES: dict[str, tuple[str, ...]] = {
    "classification": ("*/top1", "*/top5", "*/class_mean_accuracy", "*/macro_f1", "*/mAP", "*/auc"),
    "regression": ("*/mae", "*/pearson", "*/acc2_*", "*/acc7"),
    "moments": ("r1@*", "mAP*", "mIoU", "highlight/*/mAP", "highlight/*/hit1"),
    "retrieval": ("*/r@1", "*/r@10"),
    "probes": ("*/linear/accuracy",),
    "zero_shot": ("*/top1",),
    "captioning": ("exact_match", "bleu_4", "rouge_l", "cider_d", "facts/all"),
    "question_answering": ("exact_match",),
    "losses": ("loss", "*/loss"),
}
"""Headline metrics of each kind of evaluation; a kind that is not named here has all its metrics."""

BESIDE = ("dsl", "reranked", "by_clip")
"""Prefixes of other ways to rank than by embeddings: extra rows of a direction of retrieval, never its headline."""


def known(name: str) -> bool:
    """Return True if papers report the metric, False for counts and the like."""
    last = name.rsplit("/", 1)[-1]
    return any(last in names for names in (_SHARES, _OTHERS, _HUNDREDS)) or _matches(last, _RECALLS)


def label(name: str) -> str:
    """Return the label of a metric: its last part, with a % if it is a share."""
    last = name.rsplit("/", 1)[-1]
    if last in _SHARES:
        return f"{_SHARES[last]} %"
    if _matches(last, _RECALLS):
        return f"{last.upper()} %"
    return _OTHERS.get(last) or _HUNDREDS.get(last) or last.replace("_", " ")


def group_label(name: str) -> str:
    """Return the label of the part of a metric's name before the last, such as the objective; often empty."""
    return name.rpartition("/")[0].replace("_to_", " → ").replace("/", " · ").replace("_", " ")


def full_label(name: str) -> str:
    """Return a metric's label with that of its group, as HTML."""
    return text(" · ".join(part for part in (group_label(name), label(name)) if part))


def written(name: str, value: int | float | None) -> str:
    """Return a metric's value as text: shares in percent, caption scores times 100, a dash for None."""
    if name.endswith("p_value"):
        return p_value(value)
    return percent(value) if is_hundredfold(name) else number(value)


def is_hundredfold(name: str) -> bool:
    """Return True if a metric is written times 100: shares (in percent), and caption scores."""
    return is_share(name) or name.rsplit("/", 1)[-1] in _HUNDREDS


def is_share(name: str) -> bool:
    """Return True if a metric is a share, at most 100 %; caption scores may be higher."""
    last = name.rsplit("/", 1)[-1]
    return last in _SHARES or _matches(last, _RECALLS)


def less_is_better(name: str) -> bool:
    """Return True if a metric is an error or a rank."""
    return _matches(name.rsplit("/", 1)[-1], _LESS_IS_BETTER)


def headline(kind: str, name: str) -> bool:
    """Return True if a metric is a headline of its kind of evaluation."""
    return _matches(name, HEADLINES.get(kind, ("*",))) and not any(part in BESIDE for part in name.split("/"))


def best(name: str, values: Iterable[int | float | None]) -> int | float | None:
    """Return the best of a metric's values; None if there are none or all are equal."""
    known = [value for value in values if value is not None]
    if len(set(known)) < 2 or name.rsplit("/", 1)[-1] in ("clips", "left_out", "ties", "queries", "chance"):
        return None
    return min(known) if less_is_better(name) else max(known)


def by_group(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return metrics by the part of their names before the last, in their order."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in metrics.items():
        group, _, last = name.rpartition("/")
        # `visual/top1` and `visual/mAP` become {"visual": {"top1": …, "mAP": …}}.
        groups.setdefault(group, {})[last] = value
    return groups


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
