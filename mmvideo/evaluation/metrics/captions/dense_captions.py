"""Dense captioning by the protocol of ActivityNet Captions (Krishna et al. 2017), over events that overlap.

At each threshold of temporal overlap, a predicted event is paired with every true event of any annotator that overlaps
it enough. An event that overlaps none is paired with a nonsense word. The caption metrics are computed over the pairs
of a video and averaged over videos, then over thresholds. The metric therefore rewards short lists of safe events
(`soda` does not), BLEU is that of one video's pairs, and CIDEr-D takes its document frequencies from them.

The published evaluator scores a video that is absent from the predictions with 0. Here such a video is left out and
counted, and a video with an empty list of events scores 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mmvideo.evaluation.metrics.captions.bleu import bleu
from mmvideo.evaluation.metrics.captions.caption_words import caption_words
from mmvideo.evaluation.metrics.captions.cider import cider
from mmvideo.evaluation.metrics.captions.java_scorers import Meteor
from mmvideo.evaluation.metrics.captions.rouge import rouge_l

THRESHOLDS: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)

_NOTHING = [["zqxjvkwzqxjvkwz"]]  # letters, because METEOR drops other signs, and its counts must hold one word


class Event(NamedTuple):
    """A window of a video in seconds, and its caption."""

    start: float
    end: float
    caption: str


Annotations = Mapping[str, Sequence[Sequence[Event]]]
"""True events of each video, one list for each annotator."""


def event_words(event: Event) -> list[str]:
    """Return the words of an event's caption; as in the published evaluators, non-ASCII characters are white space."""
    return caption_words("".join(letter if letter.isascii() else " " for letter in event.caption))


def overlaps(true: Sequence[Event], predicted: Sequence[Event]) -> Float[np.ndarray, "true predicted"]:
    """Return the intersection over union of windows, in [0, 1)."""
    a = np.array([event[:2] for event in true], np.float64).reshape(-1, 1, 2)
    b = np.array([event[:2] for event in predicted], np.float64).reshape(1, -1, 2)
    common = np.maximum(0.0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    # The hull of disjoint windows is longer than both together: [0, 1] and [3, 4] have hull 4 and sum 2. The union is
    # the smaller of the two; for windows that overlap, the hull.
    hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    both = a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0]
    return common / (np.minimum(hull, both) + 1e-8)


def dense_caption_metrics(
    predicted: Mapping[str, Sequence[Event]],
    annotations: Annotations,
    meteor: Meteor | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[dict[str, float | int], dict[str, dict[str, float]]]:
    """Return caption metrics over overlapping events, and precision and recall of events.

    Args:
      predicted: Events of each video; the published evaluator would keep the first 1,000.
      annotations: True events of each video, by annotator.
      meteor: Running scorer; without it METEOR is left out.
      thresholds: Overlaps from which pairs count.

    Returns:
      `dense_NAME@THRESHOLD` and its mean over thresholds `dense_NAME` for `bleu_1` … `bleu_4`, `rouge_l`, `cider_d` and
      `meteor`. Likewise `event_precision` (share of predicted events that overlap a true one by more than the
        threshold) and
      `event_recall` (share of true events overlapped) of the best annotator, and `event_f1` of their means. `clips`,
        and
      `left_out`, the number of videos that lack either. Then the means over thresholds of each video.

    Raises:
      ValueError: No video has both.
    """
    names = [name for name in predicted if annotations.get(name)]
    if not names:
        raise ValueError("no video has both predicted and true events: check that their ids are the same")
    single = {name: _video(predicted[name], annotations[name], meteor, thresholds) for name in names}
    metrics: dict[str, float | int] = {
        key: float(np.mean([values[key] for values in single.values()])) for key in single[names[0]]
    }
    means = {key: value for key, value in metrics.items() if "@" not in key}
    metrics["event_f1"] = _f1(means["event_precision"], means["event_recall"])
    metrics["clips"] = len(names)
    metrics["left_out"] = len(predicted.keys() | annotations.keys()) - len(names)
    return metrics, {name: {key: single[name][key] for key in means} for name in names}


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _video(
    predicted: Sequence[Event],
    annotators: Sequence[Sequence[Event]],
    meteor: Meteor | None,
    thresholds: Sequence[float],
) -> dict[str, float]:
    """Return every metric of one video at each threshold, and their means."""
    overlap = [overlaps(events, predicted) for events in annotators]
    said = [event_words(event) for event in predicted]
    right = [[event_words(event) for event in events] for events in annotators]
    values: dict[str, float] = {}
    for threshold in thresholds:
        pairs = [
            (caption, [right[annotator][row]])
            for number, caption in enumerate(said)
            for annotator, found in enumerate(overlap)
            for row in np.flatnonzero(found[:, number] >= threshold)
        ]
        # Predicted events that overlap no true event of any annotator.
        alone = ~np.any([(found >= threshold).any(axis=0) for found in overlap], axis=0)
        pairs += [(said[number], _NOTHING) for number in np.flatnonzero(alone)]
        # Pairs count from the threshold on, recall only above it: the published evaluator has both comparisons.
        scores = _captions(pairs, meteor) | _found([found > threshold for found in overlap])
        values |= {f"{name}@{threshold:g}": value for name, value in scores.items()}
    for name in scores:
        values[name] = float(np.mean([values[f"{name}@{threshold:g}"] for threshold in thresholds]))
    return values


def _captions(pairs: Sequence[tuple[list[str], list[list[str]]]], meteor: Meteor | None) -> dict[str, float]:
    """Return caption metrics over the pairs of one video; all 0 if nothing was predicted."""
    if not pairs:
        names = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"] + ["meteor"] * (meteor is not None)
        return {f"dense_{name}": 0.0 for name in names}
    captions, references = [caption for caption, _ in pairs], [reference for _, reference in pairs]
    scores = {f"dense_bleu_{n + 1}": float(value) for n, value in enumerate(bleu(captions, references)[0])}
    scores["dense_rouge_l"] = float(rouge_l(captions, references).mean())
    scores["dense_cider_d"] = float(cider(captions, references).cider_d.mean())
    if meteor is not None:
        scores["dense_meteor"] = meteor.score(captions, references)[0]
    return scores


def _found(overlap: Sequence[Bool[np.ndarray, "_ predicted"]]) -> dict[str, float]:
    """Return precision and recall of events, each of the annotator with the highest value."""
    return {
        "event_precision": max(float(found.any(axis=0).mean()) if found.shape[1] else 0.0 for found in overlap),
        "event_recall": max(float(found.any(axis=1).mean()) if found.shape[0] else 0.0 for found in overlap),
    }
