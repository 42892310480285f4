"""Counts of the n-grams of a caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """Return the counts of every n-gram of 1 … `order` words."""
    counts: Counter[tuple[str, ...]] = Counter()
    for n in range(1, order + 1):
        # Words a b c, n = 2: zip of (a b c) and (b c) gives (a, b) and (b, c).
        counts.update(zip(*(words[start:] for start in range(n)), strict=False))
    return counts
