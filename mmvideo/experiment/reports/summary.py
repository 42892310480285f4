"""The results of a run as lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.evaluation.metrics.captions.caption_metrics import SHORT
from mmvideo.evaluation.report.modality_gains import MEASURES, WHOLE, gains_by_modality, table_lines
from mmvideo.evaluation.results import read_result
from mmvideo.evaluation.runner import subset_name


def summary_lines(workdir: Path, modalities: tuple[str, ...] | None = None, dataset: str | None = None) -> list[str]:
    """Return the results of all tasks as lines of text.

    Args:
      workdir: folder of the run.
      modalities: shown modalities; None is all.
      dataset: name of the clips, if they are not the run's own.
    """
    lines, unseen = [], {}
    for name, told in SUMMARY_LINES.items():
        found = _evaluation(workdir, subset_name(name, modalities, dataset))
        protocol = found.get("protocol", {})
        lines += told(found.get("metrics", {}))
        for objective, lacking in protocol.get("not_answerable", {}).items():
            lines.append(f"{objective:<24}not answerable: it needs {' and '.join(lacking)}, which is not shown")
        unseen |= dict.fromkeys(protocol.get("never_missing", ()))
    if unseen:
        lines.append(NEVER_MISSING.format(" and ".join(unseen)))
    return lines


NEVER_MISSING = (
    "no clip of the training lacked {0}: what falls here may be the surprise, not what {0} tells "
    "(train with input.modality_dropout.drop)"
)


def gain_lines(workdir: Path, groups: Sequence[str], dataset: str | None = None) -> list[str]:
    """Return the table of each modality's gain, from evaluations with all modalities and with these groups alone."""
    shown = {WHOLE: None} | {group: tuple(group.split("+")) for group in groups}
    variants = {
        task: {
            name: found["metrics"]
            for name, modalities in shown.items()
            if (found := _evaluation(workdir, subset_name(task, modalities, dataset)))
        }
        for task in MEASURES
    }
    # A gain needs two evaluations of a task, such as video alone and video+audio.
    lines = table_lines(gains_by_modality({task: of for task, of in variants.items() if len(of) > 1}))
    unseen: dict[str, None] = {}
    for group in groups:
        for task in MEASURES if lines else ():
            found = _evaluation(workdir, subset_name(task, shown[group], dataset))
            unseen |= dict.fromkeys(found.get("protocol", {}).get("never_missing", ()))
    return lines + ([NEVER_MISSING.format(" or ".join(unseen))] if unseen else [])


def _evaluation(workdir: Path, name: str) -> dict[str, Any]:
    """Return the stored result of an evaluation; empty where it was not made."""
    path = workdir / "evals" / f"{name}.json"
    return read_result(path) if path.is_file() else {}


VARIANTS = {
    "distinct": "equal captions as 1",
    "by_clip": "by best caption",
    "dsl": "dual softmax",
    "reranked": "re-ranked",
}
"""Labels of other rankings of a direction, by the prefix of their metrics."""


def _masked_lines(metrics: Mapping[str, float]) -> list[str]:
    """Return the lines of masked prediction, beside the loss of predicting each patch by its own mean."""
    names = [name.removesuffix("/mean_loss") for name in metrics if name.endswith("/mean_loss")]
    head = [f"{'hidden patches':<32}{'loss':>8}{'of their mean':>16}"] if names else []
    return head + [f"{name:<32}{metrics[f'{name}/loss']:8.3f}{metrics[f'{name}/mean_loss']:16.3f}" for name in names]


def _retrieval_lines(metrics: Mapping[str, float]) -> list[str]:
    """Return the table of retrieval metrics, with a line per direction and variant."""
    if not metrics:
        return []
    lines = [f"{'retrieval':<24}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'MdR':>7}{'chance':>9}{'oracle':>9}{_counts_head()}"]
    for direction in sorted({name.split("/")[0] for name in metrics if name.endswith("/r@1")}):
        # "video_to_text/r@1" and "video_to_text/dsl/r@1" become "r@1" and "dsl/r@1" in the row of video_to_text.
        row = {name.split("/", 1)[1]: value for name, value in metrics.items() if name.startswith(f"{direction}/")}
        oracle = f"{row['oracle']:9.3f}" if row.get("oracle") is not None else f"{'–':>9}"
        recalls = "".join(f"{row[f'r@{k}']:8.3f}" for k in (1, 5, 10))
        label = direction.replace("_to_", " → ")
        lines.append(f"{label:<24}{recalls}{row['median_rank']:7.0f}{row['chance']:9.4f}{oracle}{_counts(row)}")
        for prefix in VARIANTS:
            if f"{prefix}/r@1" in row:
                recalls = "".join(f"{row[f'{prefix}/r@{k}']:8.3f}" for k in (1, 5, 10))
                chance, more = "", ""
                if prefix == "distinct":
                    chance = f"{row['distinct/chance']:9.4f}"
                    more = f"{'–':>9}" + _counts({name: row.get(f"distinct/{name}") for name in COUNTS.values()})
                lines.append(f"{f'  {VARIANTS[prefix]}':<24}{recalls}{row[f'{prefix}/median_rank']:7.0f}{chance}{more}")
    return lines


def _chosen(title: str, columns: Mapping[str, str]) -> Callable[[Mapping[str, float]], list[str]]:
    """Return a function that formats some metrics: a line per objective, or one line where names have no objective."""

    def lines(metrics: Mapping[str, float]) -> list[str]:
        # Metrics "shape/top1" and "motion/top1" with column {"top-1": "top1"} give rows "motion" and "shape"; a bare
        # "top1" gives one row without a name.
        last = set(columns.values())
        rows = sorted({group for name in metrics if (group := _row_of(name, last)) is not None})
        told = {head: name for head, name in columns.items() if any(_join(row, name) in metrics for row in rows)}
        if not told:
            return []
        head = f"{title:<24}" + "".join(f"{word:>{len(word) + 3}}" for word in told) + _counts_head()
        lines = [head]
        for row in rows:
            cells = (_cell(metrics.get(_join(row, name)), len(word) + 3) for word, name in told.items())
            of = {name: metrics.get(_join(row, name)) for name in COUNTS.values()}
            lines.append(f"{row:<24}" + "".join(cells) + _counts(of))
        return lines

    return lines


COUNTS = {"n": "clips", "left out": "left_out", "ties": "ties"}
"""Metrics of the columns after every result: evaluated clips, clips left out, and ties."""


def _counts_head() -> str:
    """Return the heads of the count columns."""
    return "".join(f"{word:>{max(len(word), 4) + 2}}" for word in COUNTS)


def _counts(of: Mapping[str, float | None]) -> str:
    """Return the counts under their heads; for moments `n` is the number of queries."""
    values = [of.get(name, of.get("queries") if name == "clips" else None) for name in COUNTS.values()]
    cells = [
        f"{'–' if value is None else format(int(value), 'd'):>{max(len(word), 4) + 2}}"
        for word, value in zip(COUNTS, values, strict=True)
    ]
    return "".join(cells)


def _row_of(name: str, last: set[str]) -> str | None:
    """Return the part of a name before the shown metric; None for another metric."""
    return next((name.removesuffix(one).rstrip("/") for one in last if name == one or name.endswith(f"/{one}")), None)


def _join(row: str, name: str) -> str:
    """Return the metric's name in a row."""
    return f"{row}/{name}" if row else name


def _cell(value: float | None, width: int) -> str:
    """Return a value of three decimals; a dash for None."""
    return f"{'–':>{width}}" if value is None else f"{value:{width}.3f}"


def _captioning_lines(metrics: Mapping[str, float]) -> list[str]:
    """Return the captioning lines, with BLEU-4 first if references are long enough, else with exact match."""
    columns = {"exact": "exact_match", "ROUGE-L": "rouge_l", "CIDEr-D": "cider_d", "facts right": "facts/all"}
    if metrics.get("reference_length_mean", SHORT) >= SHORT:
        columns = {"BLEU-4": "bleu_4"} | columns
    return _chosen("captioning", columns)(metrics)


SUMMARY_LINES: dict[str, Callable[[Mapping[str, float]], list[str]]] = {
    "retrieval": _retrieval_lines,
    "zero_shot": _chosen("zero-shot", {"top-1": "top1", "top-5": "top5", "per class": "class_mean_accuracy"}),
    "classification": _chosen(
        "classification",
        {"top-1": "top1", "top-5": "top5", "per class": "class_mean_accuracy", "macro F1": "macro_f1", " mAP": "mAP"},
    ),
    "regression": _chosen("regression", {"   MAE": "mae", "of median": "chance_mae", "correlation": "pearson"}),
    "captioning": _captioning_lines,
    "dense_captioning": _chosen(
        "dense captions", {"SODA (ROUGE-L)": "soda_rouge_l", "SODA_c": "soda_c", "event F1": "event_f1"}
    ),
    "question_answering": _chosen("answers", {"exact match": "exact_match"}),
    "moments": _chosen("moments", {"R1@0.5": "r1@0.5", "R1@0.7": "r1@0.7", "   mAP": "mAP"}),
    "losses": _masked_lines,
}
"""Formatters of the metrics of each evaluation."""
