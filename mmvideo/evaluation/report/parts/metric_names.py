"""What metrics are called on the page, and how their values are written."""

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
    "f1_nonneg_by_answers": "F1, − / not −, weighted by answers",
    "acc2_posneg": "Acc-2, − / +",
    "f1_posneg": "F1, − / +",
    "f1_posneg_by_answers": "F1, − / +, weighted by answers",
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
    "unanswered": "without an answer",
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
"""Metrics of each kind of evaluation that stand for the rest; all of a kind that isn't named here."""

BESIDE = ("dsl", "reranked", "by_clip")
"""Other ways to rank than by the embeddings, which stand beside a direction of retrieval and for nothing else."""


def known(name: str) -> bool:
    """Whether a metric is one that papers report, rather than something counted beside them."""
    last = name.rsplit("/", 1)[-1]
    return any(last in names for names in (_SHARES, _OTHERS, _HUNDREDS)) or _matches(last, _RECALLS)


def label(name: str) -> str:
    """A metric's name as it is read: only its last part, with a % where it is a share."""
    last = name.rsplit("/", 1)[-1]
    if last in _SHARES:
        return f"{_SHARES[last]} %"
    if _matches(last, _RECALLS):
        return f"{last.upper()} %"
    return _OTHERS.get(last) or _HUNDREDS.get(last) or last.replace("_", " ")


def group_label(name: str) -> str:
    """What comes before the last part of a metric's name, such as the objective; often nothing."""
    return name.rpartition("/")[0].replace("_to_", " → ").replace("/", " · ").replace("_", " ")


def full_label(name: str) -> str:
    """A metric's name with what comes before it, as HTML."""
    return text(" · ".join(part for part in (group_label(name), label(name)) if part))


def written(name: str, value: int | float | None) -> str:
    """A metric's value: shares in percent, captions' scores times 100, a dash where there is none."""
    if name.endswith("p_value"):
        return p_value(value)
    return percent(value) if is_hundredfold(name) else number(value)


def is_hundredfold(name: str) -> bool:
    """Whether a metric is written times 100: shares, which are percent then, and captions' scores."""
    return is_share(name) or name.rsplit("/", 1)[-1] in _HUNDREDS


def is_share(name: str) -> bool:
    """Whether a metric is a share, which is at most 100 %; scores of captions may be more."""
    last = name.rsplit("/", 1)[-1]
    return last in _SHARES or _matches(last, _RECALLS)


def less_is_better(name: str) -> bool:
    """Whether a metric is one of errors or ranks."""
    return _matches(name.rsplit("/", 1)[-1], _LESS_IS_BETTER)


def headline(kind: str, name: str) -> bool:
    """Whether a metric is one of those that stand for the rest of its kind of evaluation."""
    return _matches(name, HEADLINES.get(kind, ("*",))) and not any(part in BESIDE for part in name.split("/"))


def best(name: str, values: Iterable[int | float | None]) -> int | float | None:
    """The best of a metric's values; None where there are none or all are the same."""
    known = [value for value in values if value is not None]
    if len(set(known)) < 2 or name.rsplit("/", 1)[-1] in ("clips", "left_out", "ties", "queries", "chance"):
        return None
    return min(known) if less_is_better(name) else max(known)


def by_group(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics by what comes before the last part of their names, in the order in which they come up."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in metrics.items():
        group, _, last = name.rpartition("/")
        groups.setdefault(group, {})[last] = value
    return groups


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
