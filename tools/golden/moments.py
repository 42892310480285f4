"""Make `tests/evaluation/metrics/golden/moments.json`: metrics of QVHighlights' published evaluator.

    pip install "scikit-learn>=1.7"
    git clone https://github.com/jayleicn/moment_detr
    python tools/golden/moments.py moment_detr

The queries are random, in the shape of the published files: their annotations are CC BY-NC-SA, so none is copied. The
evaluator rounds its means to hundredths of a percent; the values of single queries are written in full. The script also
scores the repository's sample predictions on its validation annotations with mmvideo, and prints the difference from
the published evaluator.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "tests" / "evaluation" / "metrics" / "golden" / "moments.json"


def query(draw: np.random.Generator, number: int) -> tuple[dict, dict]:
    """Return a query with one to three true windows, and predictions, some of them near the true windows."""
    duration = int(draw.choice([150, 150, 126, 75]))
    clips = duration // 2
    edges = np.sort(draw.choice(clips, 2 * int(draw.integers(1, 4)), replace=False)).reshape(-1, 2)
    relevant = np.concatenate([np.arange(first, last) for first, last in edges])
    near = (2 * edges + draw.normal(size=edges.shape) * draw.choice([0.5, 3.0, 12.0])).clip(0, duration)
    wild = np.sort(draw.random((12 - len(edges), 2)) * duration, axis=1)
    windows = np.concatenate([np.sort(near, axis=1), wild])[draw.permutation(12)[: draw.integers(4, 13)]]
    windows[:, 1] += 0.5
    scores = np.sort(draw.random(len(windows)))[::-1]
    if number % 5 == 0:
        scores = draw.permutation(scores)  # the order given and the order of scores differ
    if number % 7 == 0:
        scores = scores.round(1)  # ties
    truth = {
        "qid": number, "query": f"query {number}", "duration": duration, "relevant_windows": (2 * edges).tolist(),
        "relevant_clip_ids": relevant.tolist(),
        "saliency_scores": draw.integers(int(number % 4), 5, (len(relevant), 3)).tolist(),
    }  # fmt: skip
    saliency = draw.normal(size=75)  # too many or too few for some durations
    saliency[relevant[relevant < 75]] += 0.8
    found = {
        "qid": number,
        "pred_relevant_windows": np.column_stack([windows, scores]).round(4).tolist(),
        "pred_saliency_scores": saliency.round(1 if number % 3 == 0 else 3).tolist(),
    }
    return found, truth


def published(found: list[dict], truth: list[dict]) -> dict:
    from standalone_eval.eval import eval_submission

    return eval_submission(json.loads(json.dumps(found)), truth, verbose=False)


def single(found: dict, truth: dict) -> dict:
    """Return unrounded values of one query."""
    from standalone_eval.eval import compute_ap_from_tuple, mk_gt_scores
    from standalone_eval.utils import compute_average_precision_detection

    windows = [
        {"video-id": 0, "t-start": start, "t-end": end, "score": score}
        for start, end, score in found["pred_relevant_windows"][:10]
    ]
    true = [{"video-id": 0, "t-start": start, "t-end": end} for start, end in truth["relevant_windows"]]
    thresholds = [float(f"{value:.2f}") for value in np.linspace(0.5, 0.95, 10)]
    saliency = mk_gt_scores(truth)
    answer = np.array(found["pred_saliency_scores"])
    highlights = [
        [float(compute_ap_from_tuple((0, 0, (column >= least).astype(float), answer))[2]) for column in saliency.T]
        for least in (2, 3, 4)
    ]
    ap = compute_average_precision_detection(true, windows, tiou_thresholds=thresholds)
    return {"detection_ap": ap.tolist(), "highlight_ap": highlights}


def compared(checkout: Path) -> None:
    """Return the difference from the published evaluator on the published sample, in percentage points."""
    sys.path.insert(0, str(ROOT))
    from mmvideo.evaluation.metrics.moments import moment_metrics

    def read(path: str) -> list[dict]:
        return [json.loads(line) for line in (checkout / path).read_text(encoding="utf-8").split("\n") if line]

    found, truth = read("standalone_eval/sample_val_preds.jsonl"), read("data/highlight_val_release.jsonl")
    theirs, (ours, _) = published(found, truth)["brief"], moment_metrics(found, truth)
    names = {
        "MR-full-R1@0.5": "r1@0.5", "MR-full-R1@0.7": "r1@0.7", "MR-full-mAP": "mAP", "MR-full-mAP@0.5": "mAP@0.5",
        "MR-full-mAP@0.75": "mAP@0.75", "MR-short-mAP": "short/mAP", "MR-middle-mAP": "middle/mAP",
        "MR-long-mAP": "long/mAP",
    }  # fmt: skip
    for level, own in (("Fair", "fair"), ("Good", "good"), ("VeryGood", "very_good")):
        names |= {f"HL-min-{level}-mAP": f"highlight/{own}/mAP", f"HL-min-{level}-Hit1": f"highlight/{own}/hit1"}
    for name, own in names.items():
        print(f"{name:22} {theirs[name]:6.2f}  {100 * ours[own]:9.4f}")
    print("furthest apart:", max(abs(theirs[name] - 100 * ours[own]) for name, own in names.items()))


def main() -> None:
    checkout = Path(sys.argv[1])
    sys.path.insert(0, str(checkout))
    draw = np.random.default_rng(5)
    found, truth = map(list, zip(*(query(draw, number) for number in range(40)), strict=True))
    whole = {
        "metrics": published(found, truth),
        "single": [single(*pair) for pair in zip(found, truth, strict=True)],
        "predictions": found,
        "truth": truth,
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(whole) + "\n", encoding="utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
    compared(checkout)


if __name__ == "__main__":
    main()
