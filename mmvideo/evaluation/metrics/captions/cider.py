"""CIDEr and CIDEr-D of captions (Vedantam et al. 2015): consensus with the references, weighted by rarity.

A caption is a vector of tf-idf weights of its n-grams, n = 1 … 4. Its score is the cosine with a reference, averaged
over n and over the references; the scale is 0 … 10. CIDEr-D, the paper's variant that is harder to game, clips the
count of an n-gram by that of the reference, and damps a difference of length by a Gaussian (sigma 6).

- Other code and nearly all published numbers say CIDEr for CIDEr-D (the COCO caption scorer's `Cider`).
- Document frequencies come from the given references: a clip is a document, however many references it has. A value
  thus depends on the whole set, and a set of one clip scores 0.
- As in the authors' code, words are not stemmed (the paper stems them), and length is counted in bigrams.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmvideo.evaluation.metrics.captions.ngrams import ngrams

ORDER, SIGMA, SCALE = 4, 6.0, 10.0


class Cider(NamedTuple):
    """Values of each clip, in 0 … 10; the value of a corpus is their mean."""

    cider: Float[np.ndarray, "n"]
    cider_d: Float[np.ndarray, "n"]


class _Vector(NamedTuple):
    weights: dict[tuple[str, ...], float]
    norms: list[float]
    bigrams: int


def cider(predicted: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Cider:
    """Return CIDEr and CIDEr-D of each clip's caption (words) against its references, one or more of them."""
    counted = [[ngrams(reference, ORDER) for reference in its] for its in references]
    # References `a dog`, `a cat` of clip 0 and `a dog` of clip 1: `a` and `dog` are in 2 documents, with rarity 0, and
    # `cat` is in 1, with rarity log 2.
    frequency = Counter(ngram for its in counted for ngram in set().union(*its))
    clips = math.log(len(counted)) if counted else 0.0
    rarity = {ngram: clips - math.log(documents) for ngram, documents in frequency.items()}
    scores = np.zeros((len(counted), 2))
    for clip, (caption, its) in enumerate(zip(predicted, counted, strict=True)):
        vector = _vector(ngrams(caption, ORDER), rarity, clips)
        alike = [_similarity(vector, _vector(reference, rarity, clips)) for reference in its]
        scores[clip] = np.mean(alike, axis=0)
    return Cider(*(SCALE * scores.T))


def _vector(counts: Counter[tuple[str, ...]], rarity: Mapping[tuple[str, ...], float], unseen: float) -> _Vector:
    """Return the tf-idf weights; an n-gram of no reference is as rare as one of a single document."""
    weights = {ngram: count * rarity.get(ngram, unseen) for ngram, count in counts.items()}
    squares = [0.0] * ORDER
    for ngram, weight in weights.items():
        squares[len(ngram) - 1] += weight * weight
    bigrams = sum(count for ngram, count in counts.items() if len(ngram) == 2)
    return _Vector(weights, [math.sqrt(square) for square in squares], bigrams)


def _similarity(caption: _Vector, reference: _Vector) -> tuple[float, float]:
    """Return the mean over n of the cosine, plain, and clipped and damped."""
    plain, clipped = [0.0] * ORDER, [0.0] * ORDER
    for ngram in caption.weights.keys() & reference.weights.keys():
        mine = caption.weights[ngram]
        theirs = reference.weights[ngram]
        n = len(ngram) - 1
        plain[n] += mine * theirs
        clipped[n] += min(mine, theirs) * theirs
    norms = [a * b or 1.0 for a, b in zip(caption.norms, reference.norms, strict=True)]
    damping = math.exp(-((caption.bigrams - reference.bigrams) ** 2) / (2 * SIGMA**2))
    return (
        sum(value / norm for value, norm in zip(plain, norms, strict=True)) / ORDER,
        damping * sum(value / norm for value, norm in zip(clipped, norms, strict=True)) / ORDER,
    )
