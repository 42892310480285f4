"""ROUGE-L of captions (Lin and Och 2004): the longest common subsequence, as the COCO caption scorer counts it.

Precision and recall are each the best over the references, then combined with beta 1.2, which gives recall more weight.
An empty caption counts as one empty word, so that it matches only an empty reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

BETA = 1.2


def rouge_l(
    predicted: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Float[np.ndarray, "n"]:
    """Return ROUGE-L of each clip's caption (words) against its references, in [0, 1]; the corpus value is the mean."""
    return np.array([_clip(caption, its) for caption, its in zip(predicted, references, strict=True)], np.float64)


def _clip(caption: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    caption = caption or [""]
    common = [(common_subsequence(caption, its or [""]), len(its or [""])) for its in references]
    # Precision and recall may come from different references, as in the COCO scorer.
    precision = max(length for length, _ in common) / len(caption)
    recall = max(length / total for length, total in common)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence of two lists of words.

    The bits of one integer represent the words of `a`, and one addition handles a word of `b` (Hyyrö 2004). This is
    tens of times faster here than a table of lengths.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(a)) - 1
    open_ = whole
    for word in b:
        # A 0 in `open_` marks a position of `a` where the common subsequence grows by one. a = x y, b = y x: open_ is
        # 11, after y 01 (bit 1 cleared), after x 10, so one bit is 0 and the length is 1.
        met = open_ & places.get(word, 0)
        open_ = (open_ + met | open_ - met) & whole
    return len(a) - open_.bit_count()
