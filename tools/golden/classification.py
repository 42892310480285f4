"""Make `tests/evaluation/metrics/golden/classification.json`: scikit-learn's metrics of random scores.

    pip install "scikit-learn>=1.7" scipy
    python tools/golden/classification.py

The scores are rounded so that some are tied, some clips are unknown, and one class of each set is absent. One file
holds inputs and expected values. Averages named `macro` and `weighted` are over the classes present
(`labels=`), as `mmvideo.evaluation.metrics` defines them.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import norm, pearsonr
from sklearn import metrics

TARGET = Path(__file__).parents[2] / "tests" / "evaluation" / "metrics" / "golden" / "classification.json"
CLIPS, CLASSES = 90, 8


def averages(truth: np.ndarray, answer: np.ndarray, present: list[int]) -> dict:
    found = {}
    for kind in ("macro", "weighted", "micro"):
        labels = None if kind == "micro" else present
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            truth, answer, average=kind, labels=labels, zero_division=0
        )
        found |= {f"{kind}_precision": precision, f"{kind}_recall": recall, f"{kind}_f1": f1}
    return found


def ranking(scores: np.ndarray, targets: np.ndarray) -> tuple[dict, dict]:
    """Return metrics of each class over its known targets, and their means where they are defined."""
    precision, area = [None] * scores.shape[1], [None] * scores.shape[1]
    for number in range(scores.shape[1]):
        known = ~np.isnan(targets[:, number])
        column, positive = scores[known, number], targets[known, number]
        if positive.any():
            precision[number] = metrics.average_precision_score(positive, column)
            area[number] = metrics.roc_auc_score(positive, column)
    auc = float(np.mean([value for value in area if value is not None]))
    whole = {
        "mAP": float(np.mean([value for value in precision if value is not None])),
        "auc": auc,
        "d_prime": float(np.sqrt(2) * norm.ppf(auc)),
        "absent_classes": precision.count(None),
    }
    return whole, {"average_precision": precision, "auc": area}


def single(draw: np.random.Generator) -> dict:
    truth = draw.integers(0, CLASSES - 1, CLIPS)  # the last class is absent
    scores = draw.normal(size=(CLIPS, CLASSES)) + 1.5 * np.eye(CLASSES)[truth]
    scores = np.exp(scores).round(1)  # many ties
    truth[[3, 17, 40]] = -1
    known = truth >= 0
    true, seen = truth[known], scores[known]
    answer, present = seen.argmax(axis=1), sorted(set(true.tolist()))
    expected, per_class = ranking(seen, np.eye(CLASSES)[true])
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        true, answer, labels=range(CLASSES), zero_division=0
    )
    # Ties are broken by class number: sort whole rows.
    first_five = [
        label in sorted(range(CLASSES), key=lambda number, row=row: (-row[number], number))[:5]
        for row, label in zip(seen, true, strict=True)
    ]
    by_class = [np.mean([hit for hit, label in zip(first_five, true, strict=True) if label == one]) for one in present]
    expected |= averages(true, answer, present) | {
        "top1": metrics.accuracy_score(true, answer),
        "top5": float(np.mean(first_five)),
        "class_mean_accuracy": metrics.balanced_accuracy_score(true, answer),
        "class_mean_recall@5": float(np.mean(by_class)),
        "clips": int(known.sum()),
        "left_out": 3,
    }
    per_class |= {
        "precision": precision.tolist(),
        "recall": [value if n else None for value, n in zip(recall.tolist(), support, strict=True)],
        "f1": [value if n else None for value, n in zip(f1.tolist(), support, strict=True)],
        "support": support.tolist(),
    }
    confusion = metrics.confusion_matrix(true, answer, labels=range(CLASSES)).tolist()
    return {
        "scores": scores.tolist(), "truth": truth.tolist(),
        "metrics": expected, "per_class": per_class, "confusion": confusion,
    }  # fmt: skip


def several(draw: np.random.Generator) -> dict:
    targets = (draw.random((CLIPS, CLASSES)) < 0.25).astype(float)
    targets[:, 5] = 0.0
    scores = (0.5 * draw.random((CLIPS, CLASSES)) + 0.35 * targets).round(2)
    whole = {"probabilities": scores.tolist(), "targets": targets.tolist()}
    expected, per_class = ranking(scores, targets)
    present = [number for number in range(CLASSES) if targets[:, number].any()]
    expected |= averages(targets, (scores >= 0.5).astype(float), present)
    expected |= {"micro_ap": metrics.average_precision_score(targets, scores, average="micro")}
    return whole | {"metrics": expected, "per_class": per_class}


def holes(draw: np.random.Generator, whole: dict) -> dict:
    """Return the same with unknown targets, including all targets of one clip."""
    targets, scores = np.array(whole["targets"]), np.array(whole["probabilities"])
    targets[draw.random(targets.shape) < 0.2] = np.nan
    targets[7] = np.nan
    known = ~np.isnan(targets)
    expected, per_class = ranking(scores, targets)
    expected |= {
        "micro_ap": metrics.average_precision_score(targets[known], scores[known]),
        "micro_f1": metrics.f1_score(targets[known], scores[known] >= 0.5),
        "clips": int(known.any(axis=1).sum()),
        "left_out": int((~known.any(axis=1)).sum()),
    }
    written = [[None if np.isnan(value) else value for value in row] for row in targets.tolist()]
    return {"targets": written, "metrics": expected, "per_class": per_class}


def numbers(draw: np.random.Generator) -> dict:
    truth = (draw.normal(size=CLIPS) * 1.5).clip(-3, 3)
    truth = (3 * truth).round() / 3  # MOSEI's truths are means of three annotators; some are zero
    predicted = (truth + draw.normal(size=CLIPS)).round(2)
    predicted[:4], predicted[4:8] = 0.0, (0.5, 1.5, -2.5, 3.7)
    felt = truth != 0
    expected = {
        "mae": metrics.mean_absolute_error(truth, predicted),
        "pearson": pearsonr(truth, predicted).statistic,
        "acc2_nonneg": metrics.accuracy_score(truth >= 0, predicted >= 0),
        "f1_nonneg": metrics.f1_score(truth >= 0, predicted >= 0, average="weighted"),
        "f1_nonneg_by_answers": metrics.f1_score(predicted >= 0, truth >= 0, average="weighted"),
        "acc2_posneg": metrics.accuracy_score(truth[felt] > 0, predicted[felt] > 0),
        "f1_posneg": metrics.f1_score(truth[felt] > 0, predicted[felt] > 0, average="weighted"),
        "f1_posneg_by_answers": metrics.f1_score(predicted[felt] > 0, truth[felt] > 0, average="weighted"),
        "acc7": metrics.accuracy_score(truth.clip(-3, 3).round(), predicted.clip(-3, 3).round()),
    }
    return {"truth": truth.tolist(), "predicted": predicted.tolist(), "metrics": expected}


def main() -> None:
    draw = np.random.default_rng(11)
    found = {"single": single(draw), "several": several(draw), "numbers": numbers(draw)}
    found["holes"] = holes(draw, found["several"])
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f'"{name}": {json.dumps(value, default=float)}' for name, value in found.items())
    TARGET.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
