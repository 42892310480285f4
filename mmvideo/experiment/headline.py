"""What was measured, as lines on the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mmvideo.evaluation.results import read_result
from mmvideo.evaluation.runner import partial_name


def headline(workdir: Path, modalities: tuple[str, ...] | None = None, dataset: str | None = None) -> list[str]:
    """What was measured of retrieval, classes, numbers, captions, answers, moments and masked losses, as lines of text.

    Args:
      workdir: the run.
      modalities: those that were shown; None for all that there are.
      dataset: what the clips are called, where they are not the run's.
    """
    lines = []
    for name, told in TOLD.items():
        lines += told(_metrics(workdir, partial_name(name, modalities, dataset)))
    return lines


def _metrics(workdir: Path, name: str) -> dict[str, float]:
    """The metrics of an evaluation; empty where it was not made."""
    path = workdir / "evals" / f"{name}.json"
    return read_result(path)["metrics"] if path.is_file() else {}


VARIANTS = {
    "distinct": "equal captions as 1",
    "by_clip": "by best caption",
    "dsl": "dual softmax",
    "reranked": "re-ranked",
}
"""Other ways to rank in a direction, by what stands before their metrics."""


def _masked_lines(metrics: Mapping[str, float]) -> list[str]:
    """What predicting hidden patches cost, beside answering each with its own mean."""
    names = [name.removesuffix("/mean_loss") for name in metrics if name.endswith("/mean_loss")]
    head = [f"{'hidden patches':<32}{'loss':>8}{'of their mean':>16}"] if names else []
    return head + [f"{name:<32}{metrics[f'{name}/loss']:8.3f}{metrics[f'{name}/mean_loss']:16.3f}" for name in names]


def _retrieval_lines(metrics: Mapping[str, float]) -> list[str]:
    if not metrics:
        return []
    lines = [f"{'retrieval':<24}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'MdR':>7}{'chance':>9}{'oracle':>9}"]
    for direction in sorted({name.split("/")[0] for name in metrics if name.endswith("/r@1")}):
        row = {name.split("/", 1)[1]: value for name, value in metrics.items() if name.startswith(f"{direction}/")}
        oracle = f"{row['oracle']:9.3f}" if row.get("oracle") is not None else f"{'–':>9}"
        recalls = "".join(f"{row[f'r@{k}']:8.3f}" for k in (1, 5, 10))
        label = direction.replace("_to_", " → ")
        lines.append(f"{label:<24}{recalls}{row['median_rank']:7.0f}{row['chance']:9.4f}{oracle}")
        for prefix in VARIANTS:
            if f"{prefix}/r@1" in row:
                recalls = "".join(f"{row[f'{prefix}/r@{k}']:8.3f}" for k in (1, 5, 10))
                chance = f"{row['distinct/chance']:9.4f}" if prefix == "distinct" else ""
                lines.append(f"{f'  {VARIANTS[prefix]}':<24}{recalls}{row[f'{prefix}/median_rank']:7.0f}{chance}")
    return lines


def _chosen(title: str, columns: Mapping[str, str]) -> Callable[[Mapping[str, float]], list[str]]:
    """Tells some metrics, by heading: a line for each objective where names begin with one, else one line."""

    def lines(metrics: Mapping[str, float]) -> list[str]:
        last = set(columns.values())
        rows = sorted({name.rpartition("/")[0] for name in metrics if name.rpartition("/")[2] in last})
        told = {head: name for head, name in columns.items() if any(_join(row, name) in metrics for row in rows)}
        if not told:
            return []
        head = f"{title:<24}" + "".join(f"{word:>{len(word) + 3}}" for word in told)
        return [head] + [
            f"{row:<24}" + "".join(_cell(metrics.get(_join(row, name)), len(word) + 3) for word, name in told.items())
            for row in rows
        ]

    return lines


def _join(row: str, name: str) -> str:
    return f"{row}/{name}" if row else name


def _cell(value: float | None, width: int) -> str:
    return f"{'–':>{width}}" if value is None else f"{value:{width}.3f}"


TOLD: dict[str, Callable[[Mapping[str, float]], list[str]]] = {
    "retrieval": _retrieval_lines,
    "zero_shot": _chosen("zero-shot", {"top-1": "top1", "top-5": "top5", "per class": "class_mean_accuracy"}),
    "classification": _chosen(
        "classification",
        {"top-1": "top1", "top-5": "top5", "per class": "class_mean_accuracy", "macro F1": "macro_f1", " mAP": "mAP"},
    ),
    "regression": _chosen("regression", {"   MAE": "mae", "of median": "chance_mae", "correlation": "pearson"}),
    "captioning": _chosen(
        "captioning", {"BLEU-4": "bleu_4", "ROUGE-L": "rouge_l", "CIDEr-D": "cider_d", "facts right": "facts/all"}
    ),
    "dense_captioning": _chosen(
        "dense captions", {"SODA (ROUGE-L)": "soda_rouge_l", "SODA_c": "soda_c", "event F1": "event_f1"}
    ),
    "question_answering": _chosen("answers", {"exact match": "exact_match"}),
    "moments": _chosen("moments", {"R1@0.5": "r1@0.5", "R1@0.7": "r1@0.7", "   mAP": "mAP"}),
    "losses": _masked_lines,
}
"""How the metrics of each evaluation are told."""
