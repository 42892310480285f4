"""Length, diversity and novelty of the captions of a model, independent of their correctness.

A captioner that gives every clip the same safe sentence can score well; these metrics reveal it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mmvideo.evaluation.metrics.captions.caption_words import caption_words


def caption_diversity(
    predicted: Sequence[Sequence[str]], training: Collection[str] | None = None
) -> dict[str, float | int]:
    """Return lengths and diversity of captions given as words.

    Args:
      predicted: Words of each clip's caption.
      training: Captions seen in training, as text.

    Returns:
      `length_mean`, `length_std`, `length_min`, `length_max` in words; `empty`, the share of captions without a word;
      `vocabulary`, the number of different words; `distinct_1` and `distinct_2`, the share of different uni- and
        bigrams
      among all of them (Li et al. 2016); `unique`, the share of captions that no other clip has; with training captions
        also
      `novel`, the share of captions that are not among them.

    Raises:
      ValueError: There are no clips.
    """
    if not predicted:
        raise ValueError("diversity of no captions: give at least one clip")
    captions = [tuple(words) for words in predicted]
    lengths = np.array([len(words) for words in captions])
    unigrams = [word for words in captions for word in words]
    bigrams = [pair for words in captions for pair in zip(words, words[1:], strict=False)]
    # Captions [a, b, b, c]: repeats [1, 2, 1], so 2 of 4 are unique.
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
