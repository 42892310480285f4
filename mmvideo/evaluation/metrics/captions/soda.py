"""SODA: how well a list of captioned events tells the story of a video (Fujita et al. 2020).

Predicted and true events are matched one to one in their order in time, so that the sum of overlap times caption score
is the largest (by dynamic programming); precision divides it by the number of predicted events, recall by that of the
true ones, and the F-measure joins them: the paper's SODA_c. Of several annotators the one with the best F counts.

The caption score is a plug-in. `soda_c` is the published metric only with METEOR; with any other the name must say so,
as `soda_rouge_l` does. The published program hands the *true* caption to METEOR as the hypothesis and the predicted one
as the reference; METEOR isn't symmetric, published numbers contain it, and so the same is done here. As there, a video
without predictions at all takes no part; one with an empty list of events scores 0.
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
    """SODA with METEOR where it runs (`soda_c`) and with ROUGE-L always (`soda_rouge_l`).

    Returns:
      `NAME` (the F-measure), `NAME_precision`, `NAME_recall`, means over videos; `clips`, and `left_out`, how many
      videos lack predicted or true events. Then the same of each video.

    Raises:
      ValueError: no video has both.
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
    """Precision, recall and F-measure of one video, of the annotator with the best F-measure (the first of equals)."""
    predicted = sorted(predicted, key=lambda event: event.start)
    said = [event_words(event) for event in predicted]
    found = []
    for events in annotators:
        events = sorted(events, key=lambda event: event.start)
        if not events or not predicted:
            found.append((0.0, 0.0, 0.0))
            continue
        right = [event_words(event) for event in events]
        alike = score([true for true in right for _ in said], said * len(right)).reshape(len(right), len(said))
        total = best_ordered_matching(overlaps(events, predicted) * alike)
        precision, recall = total / len(predicted), total / len(events)
        found.append((precision, recall, 2 * precision * recall / (precision + recall) if total > 0 else 0.0))
    return max(found, key=lambda values: values[2])


def best_ordered_matching(gain: Float[np.ndarray, "true predicted"]) -> float:
    """Largest sum of gains (none negative) of a one-to-one matching that keeps the order of rows and columns."""
    best = np.zeros(gain.shape[1] + 1)
    for row in gain:
        taken = np.maximum(best[1:], best[:-1] + row)
        best[1:] = np.maximum.accumulate(taken)
    return float(best[-1])
