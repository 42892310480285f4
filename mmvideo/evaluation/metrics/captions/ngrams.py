"""Runs of words and how often they stand in a caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """Counts of every run of 1 … `order` words."""
    counts: Counter[tuple[str, ...]] = Counter()
    for n in range(1, order + 1):
        counts.update(zip(*(words[start:] for start in range(n)), strict=False))
    return counts
