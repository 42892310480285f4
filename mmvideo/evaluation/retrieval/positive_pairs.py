"""Pairs of queries and their right entries, with the float64 similarity of each pair."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

_GATHERED = 1 << 20  # values gathered at a time for pairs compared one by one: 8 MiB


@dataclasses.dataclass(frozen=True)
class PositivePairs:
    """Queries with their right entries: `p` pairs, query by query, the most similar entry first.

    Attributes:
      query: Index of the query, ascending.
      entry: Index of the entry in the gallery.
      similarity: Similarity of the pair; NaN comes last.
      first: Index of each query's first pair, with the number of pairs as the last value.
      query_group: Group of each query.
      gallery_group: Group of each entry.
    """

    query: Int[np.ndarray, "p"]
    entry: Int[np.ndarray, "p"]
    similarity: Float[np.ndarray, "p"]
    first: Int[np.ndarray, "n1"]
    query_group: Int[np.ndarray, "n"]
    gallery_group: Int[np.ndarray, "m"]


def positive_pairs(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
) -> PositivePairs:
    """Return all pairs of a query and an entry of the same group."""
    order = np.argsort(gallery_group, kind="stable")
    start = np.searchsorted(gallery_group[order], query_group, side="left")
    count = np.searchsorted(gallery_group[order], query_group, side="right") - start
    # Gallery groups [5, 3, 5], query groups [3, 5]: order [1, 0, 2] (sorted 3, 5, 5), start [0, 1], count [1, 2], first
    # [0, 1, 3]. The positions in `order` are [0, 1, 2], so asked is [0, 1, 1] and entry is [1, 0, 2].
    first = np.concatenate([[0], np.cumsum(count)])
    asked = np.repeat(np.arange(len(query)), count)
    entry = order[np.arange(len(asked)) + np.repeat(start - first[:-1], count)]
    similarity = products(query, gallery, asked, entry)
    by_query = np.lexsort((np.where(np.isnan(similarity), np.inf, -similarity), asked))
    return PositivePairs(asked, entry[by_query], similarity[by_query], first, query_group, gallery_group)


def named_pairs(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    rows: Int[np.ndarray, "p"],
    entries: Int[np.ndarray, "p"],
) -> PositivePairs:
    """Return the pairs of these queries and entries, where the right entries form no partition into groups.

    An example are the distinct captions of clips with several captions each. The groups are empty, because only the
    search on a mesh uses them.
    """
    similarity = products(query, gallery, rows, entries)
    order = np.lexsort((np.where(np.isnan(similarity), np.inf, -similarity), rows))
    # Rows [0, 0, 2] of 3 queries: first is [0, 2, 2, 3]; query 1 has no pair.
    first = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(query)))])
    none = np.zeros(0, np.int64)
    return PositivePairs(rows[order], entries[order], similarity[order], first, none, none)


def products(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    rows: Int[np.ndarray, "p"],
    entries: Int[np.ndarray, "p"],
) -> Float[np.ndarray, "p"]:
    """Return the inner products of single pairs of rows in float64."""
    result = np.empty(len(rows))
    step = max(_GATHERED // max(query.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        left, right = query[rows[some]], gallery[entries[some]]
        result[some] = np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64))
    return result
