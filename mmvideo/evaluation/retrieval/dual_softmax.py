"""Dual softmax: similarities weighted by the softmax of each entry over all queries.

CAMoE (Cheng et al. 2021, arXiv 2109.04290, section 3.4) multiplies the similarity matrix by its softmax over the
queries, so that an entry with a high similarity to every query no longer ranks first for all of them. It needs the
whole set of queries at once, which a system that answers single queries does not have. Its metrics therefore have rows
of their own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.retrieval.exact_search import BLOCK, TIE
from mmvideo.evaluation.retrieval.positive_pairs import positive_pairs

SCALE = 100.0
"""Default factor of the cosines in the softmax: the scale of CLIP's logits, with which published dual softmax rows
are computed."""


def dual_softmax_ranks(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
    scale: float = SCALE,
    *,
    block: tuple[int, int] = BLOCK,
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Return pessimistic and optimistic ranks by the score `s softmax(scale * s)`, with the softmax over the queries.

    Two passes over blocks compute the log sum of each entry, and then the ranks. A score is tied with that of the right
    entry if a difference of `TIE` between the similarities explains it: if the two differ by less than `TIE * (1 +
    scale)` of the latter.

    Args:
      query: Unit embeddings of the queries.
      gallery: Unit embeddings of the entries.
      query_group: Group of each query; the entries of the same group are right.
      gallery_group: Group of each entry.
      scale: One over the temperature of the softmax.
      block: Number of queries and of entries compared at a time.
    """
    weight = log_weights(query, gallery, scale, block=block)
    right = positive_pairs(query, gallery, query_group, gallery_group)
    # Best score over the right entries of each query; fmax skips NaN.
    best = np.full(len(query), np.nan)
    np.fmax.at(best, right.query, _scores(right.similarity, weight[right.entry], scale))
    # At s = 1, the derivative of s exp(scale s - w) is (1 + scale) times the score.
    slack = TIE * (1 + scale) * np.abs(best)
    worse, better = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
    for start in range(0, len(query), block[0]):
        some = slice(start, start + block[0])
        asked = query[some].astype(np.float64)
        bar = best[some, None]
        width = slack[some, None]
        for begin in range(0, len(gallery), block[1]):
            part = slice(begin, begin + block[1])
            score = _scores(asked @ gallery[part].astype(np.float64).T, weight[part], scale)
            wrong = query_group[some, None] != gallery_group[None, part]
            worse[some] += (wrong & ~(score < bar - width)).sum(axis=1)
            better[some] += (wrong & ~(score <= bar + width)).sum(axis=1)
    answered = np.diff(right.first) > 0
    return np.where(answered, worse + 1, 0), np.where(answered, better + 1, 0)


def log_weights(
    query: Float[np.ndarray, "n d"], gallery: Float[np.ndarray, "m d"], scale: float, *, block: tuple[int, int] = BLOCK
) -> Float[np.ndarray, "m"]:
    """Return, for each entry, the logarithm of the sum over the queries of `exp(scale * similarity)`.

    A query with NaN takes no part.
    """
    total = np.full(len(gallery), -np.inf)
    for begin in range(0, len(gallery), block[1]):
        part = slice(begin, begin + block[1])
        entries = gallery[part].astype(np.float64).T
        for start in range(0, len(query), block[0]):
            logits = scale * (query[start : start + block[0]].astype(np.float64) @ entries)
            # fmax with -inf turns NaN into -inf, whose exponential is 0.
            total[part] = np.logaddexp(total[part], _log_sum(np.fmax(logits, -np.inf)))
    return total


def _log_sum(logits: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "m"]:
    """Return the logarithm of the sum of exponentials of each column."""
    most = logits.max(axis=0)
    # A column of only -inf would give -inf - -inf = NaN; with 0 in place of its maximum it gives log 0 = -inf.
    safe = np.where(np.isfinite(most), most, 0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(logits - safe).sum(axis=0))


def _scores(similarity: np.ndarray, weight: np.ndarray, scale: float) -> np.ndarray:
    """Return the similarity times its softmax share among the queries; NaN for an entry without any weight."""
    with np.errstate(over="ignore", invalid="ignore"):
        return similarity * np.exp(scale * similarity - weight)
