"""How long, how varied and how new the captions of a model are, apart from whether they are right.

A captioner that says one safe sentence of every clip can score well; these numbers tell on it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mmvideo.evaluation.metrics.captions.caption_words import caption_words


def caption_diversity(
    predicted: Sequence[Sequence[str]], training: Collection[str] | None = None
) -> dict[str, float | int]:
    """Lengths and diversity of captions given as words.

    Args:
      predicted: the words of each clip's caption.
      training: captions seen in training, as text; they are put into words here.

    Returns:
      `length_mean`, `length_std`, `length_min`, `length_max` in words; `empty`, the share of captions without a word;
      `vocabulary`, how many different words; `distinct_1` and `distinct_2`, the share of different uni- and bigrams
      among all of them (Li et al. 2016); `unique`, the share of captions that no other clip has; where training
      captions are given, `novel`, the share of captions that is none of them.

    Raises:
      ValueError: no clips.
    """
    if not predicted:
        raise ValueError("diversity of no captions: give at least one clip")
    captions = [tuple(words) for words in predicted]
    lengths = np.array([len(words) for words in captions])
    unigrams = [word for words in captions for word in words]
    bigrams = [pair for words in captions for pair in zip(words, words[1:], strict=False)]
    _, repeats = np.unique([" ".join(words) for words in captions], return_counts=True)
    metrics: dict[str, float | int] = {
        "length_mean": float(lengths.mean()),
        "length_std": float(lengths.std()),
        "length_min": int(lengths.min()),
        "length_max": int(lengths.max()),
        "empty": float((lengths == 0).mean()),
        "vocabulary": len(set(unigrams)),
        "distinct_1": _distinct(unigrams),
        "distinct_2": _distinct(bigrams),
        "unique": float((repeats == 1).sum() / len(captions)),
    }
    if training is not None:
        seen = {tuple(caption_words(caption)) for caption in training}
        metrics["novel"] = float(np.mean([words not in seen for words in captions]))
    return metrics


def _distinct(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else 0.0
