"""SODA: a score of a list of captioned events as the story of a video (Fujita et al. 2020).

Predicted and true events are matched one to one in temporal order, so that the sum of overlap times caption score is
the largest (by dynamic programming). Precision divides it by the number of predicted events, recall by that of true
events, and the F-measure combines them: the paper's SODA_c. Of several annotators, the one with the best F-measure
counts.

The caption score is a parameter. `soda_c` is the published metric only with METEOR; with any other score the name must
say so, as in `soda_rouge_l`. The published program passes the *true* caption to METEOR as the hypothesis and the
predicted one as the reference. METEOR is not symmetric and published numbers contain this order, so it is kept here. As
in that program, a video without predictions takes no part; one with an empty list of events scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mmvideo.evaluation.metrics.captions.dense_captions import Annotations, Event, event_words, overlaps
from mmvideo.evaluation.metrics.captions.java_scorers import Meteor
from mmvideo.evaluation.metrics.captions.rouge import rouge_l

CaptionScore = Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], Float[np.ndarray, "n"]]
"""Scores of hypotheses (words) against one reference each."""


def soda_metrics(
    predicted: Mapping[str, Sequence[Event]], annotations: Annotations, meteor: Meteor | None = None
) -> tuple[dict[str, float | int], dict[str, dict[str, float]]]:
    """Return SODA with METEOR if it runs (`soda_c`), and always with ROUGE-L (`soda_rouge_l`).

    Returns:
      `NAME` (the F-measure), `NAME_precision`, `NAME_recall` as means over videos; `clips`, and `left_out`, the number
        of
      videos without predicted or true events. Then the same of each video.

    Raises:
      ValueError: No video has both.
    """
    names = [name for name in predicted if annotations.get(name)]
    if not names:
        raise ValueError("no video has both predicted and true events: check that their ids are the same")
    scores: dict[str, CaptionScore] = {"soda_rouge_l": _by_rouge}
    if meteor is not None:
        scores["soda_c"] = lambda captions, references: meteor.score(captions, [[one] for one in references])[1]
    single: dict[str, dict[str, float]] = {name: {} for name in names}
    for of, score in scores.items():
        for name in names:
            precision, recall, f = soda(predicted[name], annotations[name], score)
            single[name] |= {of: f, f"{of}_precision": precision, f"{of}_recall": recall}
    metrics: dict[str, float | int] = {
        of: float(np.mean([values[of] for values in single.values()])) for of in single[names[0]]
    }
    metrics["clips"] = len(names)
    metrics["left_out"] = len(predicted.keys() | annotations.keys()) - len(names)
    return metrics, single


def _by_rouge(captions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Float[np.ndarray, "n"]:
    return rouge_l(captions, [[one] for one in references])


def soda(
    predicted: Sequence[Event], annotators: Sequence[Sequence[Event]], score: CaptionScore
) -> tuple[float, float, float]:
    """Return precision, recall and F-measure of one video, from the annotator with the best F-measure."""
    predicted = sorted(predicted, key=lambda event: event.start)
    said = [event_words(event) for event in predicted]
    found = []
    for events in annotators:
        events = sorted(events, key=lambda event: event.start)
        if not events or not predicted:
            found.append((0.0, 0.0, 0.0))
            continue
        right = [event_words(event) for event in events]
        # All pairs in one call, true events in the outer loop: 2 true and 3 predicted events are 6 pairs, reshaped to
        # [2, 3].
        alike = score([true for true in right for _ in said], said * len(right)).reshape(len(right), len(said))
        total = best_ordered_matching(overlaps(events, predicted) * alike)
        precision, recall = total / len(predicted), total / len(events)
        found.append((precision, recall, 2 * precision * recall / (precision + recall) if total > 0 else 0.0))
    return max(found, key=lambda values: values[2])


def best_ordered_matching(gain: Float[np.ndarray, "true predicted"]) -> float:
    """Return the largest sum of gains of a one-to-one matching that keeps the order of rows and columns.

    No gain may be negative.
    """
    best = np.zeros(gain.shape[1] + 1)
    for row in gain:
        # best[j] is the largest sum with the first j columns. Each row either leaves column j alone, or adds its gain
        # to the best of the columns before it. For gains [[1, 2], [3, 1]] the first row makes [0, 1, 2], and the
        # second [0, 3, 3]: the gain 3 of column 0 beats 1 + 1.
        taken = np.maximum(best[1:], best[:-1] + row)
        best[1:] = np.maximum.accumulate(taken)
    return float(best[-1])
