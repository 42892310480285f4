"""BLEU-1 … 4 of captions (Papineni et al. 2002), of the corpus and of each clip, as the COCO caption scorer counts it.

The count of an n-gram is clipped by its highest count in one reference. The brevity penalty takes the reference of the
closest length (the shorter of two that are equally close). The scorer's tiny constants are part of the protocol: they
determine the score of a clip without any common n-gram.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.metrics.captions.ngrams import ngrams

ORDER = 4
_SMALL, _TINY = 1e-9, 1e-15


def bleu(
    predicted: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "n 4"]]:
    """Return BLEU-1 … 4 of the corpus, and of each clip by itself.

    Args:
      predicted: Words of each clip's caption.
      references: Words of each clip's references, one or more of them.

    Returns:
      Values in [0, 1]; the corpus value is computed from summed counts, and is not the mean over clips.

    Raises:
      ValueError: There are no clips.
    """
    if not predicted:
        raise ValueError("BLEU of no captions: give at least one clip")
    counts = np.array([_counts(caption, its) for caption, its in zip(predicted, references, strict=True)])
    return _score(counts.sum(axis=0, keepdims=True))[0], _score(counts)


def _counts(caption: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """Return right n-grams and all n-grams for n = 1 … 4, and the lengths of caption and closest reference."""
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= ngrams(reference, ORDER)
    right = [0] * ORDER
    for ngram, count in ngrams(caption, ORDER).items():
        # Caption `the the the`, references `the cat` and `the the`: `the` counts 2 of 3 times.
        right[len(ngram) - 1] += min(count, most[ngram])
    length = len(caption)
    # Caption of 5 words, references of 4 and 6: both differ by 1, and the tuple takes the shorter.
    closest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    return right + [max(0, length - n) for n in range(ORDER)] + [length, closest]


def _score(counts: Int[np.ndarray, "n 10"]) -> Float[np.ndarray, "n 4"]:
    right, total = counts[:, :ORDER], counts[:, ORDER : 2 * ORDER]
    precision = np.cumprod((right + _TINY) / (total + _SMALL), axis=1)
    # The geometric mean: cumprod gives p1, p1 p2, …, and the n-th root of the n-th product is BLEU-n before the
    # penalty.
    score = precision ** (1 / np.arange(1, ORDER + 1))
    ratio = (counts[:, -2] + _TINY) / (counts[:, -1] + _SMALL)
    # Lengths 6 and 8 of caption and reference: r = 0.75, penalty exp(1 - 4/3) = 0.72. A longer caption has none.
    penalty = [math.exp(1 - 1 / r) if r < 1 else 1.0 for r in ratio]
    return score * np.array(penalty)[:, None]
