"""Dual softmax: similarities weighed by how much each entry prefers the query over all other queries.

CAMoE (Cheng et al. 2021, arXiv 2109.04290, section 3.4) multiplies the similarity matrix by its softmax over the
queries, so that an entry which is near to everything is no longer everyone's answer. It looks at the whole
set of queries at once, which a system that answers one query does not have: these numbers stand in rows of
their own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.retrieval.exact_search import BLOCK, TIE, positive_pairs

SCALE = 100.0
"""What cosines are multiplied by in the softmax where nothing else is said: the scale of CLIP's logits, with which
published dual softmax rows are computed."""


def dual_softmax_ranks(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
    scale: float = SCALE,
    *,
    block: tuple[int, int] = BLOCK,
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Ranks as `retrieval.ranks` gives them, by `s softmax(scale * s)`, the softmax taken over the queries.

    Two passes over blocks: one for the logarithm of each entry's sum, one for the ranks. A score is tied
    with that of the right entry where a difference of `TIE` between the similarities makes it so: where the
    two differ by less than `TIE * (1 + scale)` of the latter.

    Args:
      query, gallery: unit embeddings.
      query_group, gallery_group: who belongs to whom.
      scale: one over the temperature of the softmax.
      block: queries and entries compared at a time.
    """
    weight = log_weights(query, gallery, scale, block=block)
    right = positive_pairs(query, gallery, query_group, gallery_group)
    best = np.full(len(query), np.nan)
    np.fmax.at(best, right.query, _scores(right.similarity, weight[right.entry], scale))
    slack = TIE * (1 + scale) * np.abs(best)
    worse, better = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
    for start in range(0, len(query), block[0]):
        some = slice(start, start + block[0])
        asked, bar, width = query[some].astype(np.float64), best[some, None], slack[some, None]
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
    """For each entry the logarithm of the sum, over the queries, of `exp(scale * similarity)`.

    A query that is not a number takes no part.
    """
    total = np.full(len(gallery), -np.inf)
    for begin in range(0, len(gallery), block[1]):
        part = slice(begin, begin + block[1])
        entries = gallery[part].astype(np.float64).T
        for start in range(0, len(query), block[0]):
            logits = scale * (query[start : start + block[0]].astype(np.float64) @ entries)
            total[part] = np.logaddexp(total[part], _log_sum(np.fmax(logits, -np.inf)))
    return total


def _log_sum(logits: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "m"]:
    """The logarithm of the sum of the exponentials of each column."""
    most = logits.max(axis=0)
    safe = np.where(np.isfinite(most), most, 0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(logits - safe).sum(axis=0))


def _scores(similarity: np.ndarray, weight: np.ndarray, scale: float) -> np.ndarray:
    """Similarity times its share among the queries; not a number where an entry has no weights."""
    with np.errstate(over="ignore", invalid="ignore"):
        return similarity * np.exp(scale * similarity - weight)
