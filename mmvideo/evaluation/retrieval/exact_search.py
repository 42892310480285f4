"""Exact search in blocks: who stands before the right entry, and which entries are the most similar.

Nothing of the size `n x m` is ever held. Blocks of similarities are computed in float32, whose error has
a bound: an inner product of `d` numbers, summed in any order, errs by at most `d u / (1 - d u)` times the
norms of the two vectors, `u = 2^-24` (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
section 3.1). What that bound leaves open is computed again in float64, so that every count is that of the
whole matrix in float64. The blocks are the host's, or those of a mesh (`mesh_search`); the answer is the same.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int, Shaped

from mmvideo.evaluation.retrieval.device_search import mesh_candidates, mesh_counts

TIE = 1e-6
"""Similarities closer than this are tied: float32 embeddings of unit length carry no finer difference."""

BLOCK = 512, 2048
"""Rows and entries compared at a time; their similarities take 4 MiB."""

MESH_ERROR = 8
"""Times the bound of the error on the host: TPUs put a float32 product together from products of bfloat16."""

_GATHERED = 1 << 20  # numbers that are gathered at a time for pairs compared one by one: 8 MiB
_FEW = 32  # one pair compared alone costs as much as about so many in a product of matrices
_SPARE = 16  # entries kept beyond those asked for, among which ties are told apart
_RESTING = 1e-12  # float64 similarities of unit vectors differ by less from block to block


@dataclasses.dataclass(frozen=True)
class PositivePairs:
    """Queries with the entries that are right for them: `p` pairs, query by query, the most similar entry first.

    Attributes:
      query: number of the query, ascending.
      entry: number of the entry of the gallery.
      similarity: of the two, NaN (which stands last) where it is not a number.
      first: the first pair of each query, and the number of pairs.
      query_group, gallery_group: what belongs together.
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
    """All pairs of a query and an entry of the same group."""
    order = np.argsort(gallery_group, kind="stable")
    start = np.searchsorted(gallery_group[order], query_group, side="left")
    count = np.searchsorted(gallery_group[order], query_group, side="right") - start
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
    """The pairs of these queries and entries, where what is right is no partition into groups.

    Such as of the distinct captions of clips with several each. The groups are empty: only the host searches by them.
    """
    similarity = products(query, gallery, rows, entries)
    order = np.lexsort((np.where(np.isnan(similarity), np.inf, -similarity), rows))
    first = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(query)))])
    none = np.zeros(0, np.int64)
    return PositivePairs(rows[order], entries[order], similarity[order], first, none, none)


def products(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    rows: Int[np.ndarray, "p"],
    entries: Int[np.ndarray, "p"],
) -> Float[np.ndarray, "p"]:
    """Inner products of single pairs of rows, in float64."""
    result, step = np.empty(len(rows)), max(_GATHERED // max(query.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        left, right = query[rows[some]], gallery[entries[some]]
        result[some] = np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64))
    return result


def count_higher_ranked_negatives(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    right: PositivePairs,
    *,
    block: tuple[int, int] = BLOCK,
    mesh: Mesh | None = None,
) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"]]:
    """For every right pair the wrong entries that stand before it, ties counted against it, and for it.

    Against it counts whatever is not clearly less similar, by more than `TIE`; for it whatever is not
    clearly more similar does not. A similarity that is not a number stands before every pair.

    Args:
      query, gallery: embeddings.
      right: the pairs; no entry that is right for a query counts for any of its pairs.
      block: pairs and entries compared at a time, on the host.
      mesh: what counts the pairs that are not in doubt; the host does all without one.
    """
    pairs = np.arange(len(right.query))
    worse, better = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    error = _error(query.shape[1]) * _norms(gallery).max(initial=0)
    if mesh is not None and len(pairs):
        worse[:], doubtful = _on_mesh(query, gallery, right, error, mesh)
        better[:] = worse
        pairs = np.flatnonzero(doubtful.astype(bool) & ~np.isnan(right.similarity))
        worse[pairs], better[pairs] = 0, 0
    for start in range(0, len(pairs), block[0]):
        some = pairs[start : start + block[0]]
        asked, row = np.unique(right.query[some], return_inverse=True)
        chunk = _Chunk.of(query[asked], row, right.similarity[some], error, *_entries_of(right, asked))
        room = _buffer_size(asked, gallery, block[1])
        for begin in range(0, len(gallery), block[1]):
            more = chunk.compare(gallery[begin : begin + block[1]], begin, room)
            worse[some] += more[0]
            better[some] += more[1]
    lost = np.isnan(right.similarity)
    wrong = len(gallery) - np.diff(right.first)[right.query[lost]]
    worse[lost], better[lost] = wrong, wrong
    return worse, better


def _on_mesh(
    query: np.ndarray, gallery: np.ndarray, right: PositivePairs, error: float, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """The wrong entries that clearly stand before each right pair, and those of which it is in doubt."""
    asked = query[right.query]
    low, high = _bars(right.similarity, MESH_ERROR * error * _norms(asked))
    # Numbers from 0 on, whatever the groups are called.
    _, groups = np.unique(np.concatenate([right.query_group, right.gallery_group]), return_inverse=True)
    own, others = groups[: len(query)][right.query], groups[len(query) :]
    return mesh_counts(asked, gallery, own, others, low, high, mesh)


def _bars(bar: Float[np.ndarray, "p"], error: Float[np.ndarray, "p"]) -> tuple[np.ndarray, np.ndarray]:
    """What is below the first, or above the second, is clearly less, or more, similar than `bar`."""
    infinity = np.float32(np.inf)
    low, high = (bar - TIE - error).astype(np.float32), (bar + TIE + error).astype(np.float32)
    return np.nextafter(low, -infinity), np.nextafter(high, infinity)


def _entries_of(right: PositivePairs, asked: Int[np.ndarray, "a"]) -> tuple[np.ndarray, np.ndarray]:
    """The right entries of some queries in the order of the gallery, and the place of each one's query in `asked`."""
    count = right.first[asked + 1] - right.first[asked]
    pairs = np.arange(count.sum()) + np.repeat(right.first[asked] - np.cumsum(count) + count, count)
    order = np.argsort(right.entry[pairs], kind="stable")
    return right.entry[pairs][order], np.repeat(np.arange(len(asked)), count)[order]


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Some queries, and right pairs of theirs.

    Attributes:
      exact, query: the queries, as they are and in float32.
      row: the query of each pair.
      bar: similarity of each pair.
      low, high: what is below, or above, is clearly less, or more, similar; what is between is in doubt.
      right, owner: the right entries of all queries, ascending, and whose each is.
    """

    exact: Float[np.ndarray, "a d"]
    query: Float32[np.ndarray, "a d"]
    row: Int[np.ndarray, "c"]
    bar: Float[np.ndarray, "c"]
    low: Float32[np.ndarray, "c"]
    high: Float32[np.ndarray, "c"]
    right: Int[np.ndarray, "e"]
    owner: Int[np.ndarray, "e"]

    @classmethod
    def of(
        cls, query: np.ndarray, row: np.ndarray, bar: np.ndarray, error: float, right: np.ndarray, owner: np.ndarray
    ) -> _Chunk:
        """`error` bounds that of a query of length 1."""
        low, high = _bars(bar, error * _norms(query)[row])
        return cls(query, query.astype(np.float32), row, bar, low, high, right, owner)

    def compare(self, gallery: Float[np.ndarray, "m d"], begin: int, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many wrong entries of a part of the gallery are not clearly less similar, and clearly more."""
        similarity = _scores_f32(self.query, gallery, room)
        known = slice(*np.searchsorted(self.right, [begin, begin + len(gallery)]))
        similarity[self.owner[known], self.right[known] - begin] = -np.inf
        if len(self.query) < len(self.row):
            similarity = similarity[self.row]
        less = similarity < self.low[:, None]
        more = np.count_nonzero(similarity > self.high[:, None], axis=1)
        worse, better = more.copy(), more
        open_rows = np.flatnonzero(len(gallery) - np.count_nonzero(less, axis=1) > more)
        if len(open_rows):
            close = ~less[open_rows] & ~(similarity[open_rows] > self.high[open_rows, None])
            within, entry = np.nonzero(close)
            pair = open_rows[within]
            exact = self._again(gallery, self.row[pair], entry)
            # Said by negation, so that a similarity that is not a number never helps.
            worse += np.bincount(pair[~(exact < self.bar[pair] - TIE)], minlength=len(worse))
            better += np.bincount(pair[~(exact <= self.bar[pair] + TIE)], minlength=len(better))
        return worse, better

    def _again(self, gallery: np.ndarray, rows: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """Similarities in float64: a few one by one, many out of the whole block."""
        if len(rows) * _FEW < len(self.query) * len(gallery):
            return products(self.exact, gallery, rows, entries)
        return (self.exact.astype(np.float64) @ gallery.astype(np.float64).T)[rows, entries]


def group_ranks(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
    *,
    block: tuple[int, int] = BLOCK,
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Rank of each query's group among all groups, each as similar as its most similar entry.

    Pessimistic and optimistic, from 1; 0 where the gallery has nothing of the group. All in float64.
    """
    order = np.argsort(gallery_group, kind="stable")
    groups, first = np.unique(gallery_group[order], return_index=True)
    first = np.append(first, len(order))
    best = _best_right(query, gallery, query_group, gallery_group)
    worse, better = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
    for start in range(0, len(query), block[0]):
        some, begin = slice(start, start + block[0]), 0
        asked, bar = query[some].astype(np.float64), best[some, None]
        while begin < len(groups):
            # Whole groups, at least one, of up to a block of entries.
            end = max(int(np.searchsorted(first, first[begin] + block[1], side="right")) - 1, begin + 1)
            entries = gallery[order[first[begin] : first[end]]].astype(np.float64)
            similarity = np.maximum.reduceat(asked @ entries.T, first[begin:end] - first[begin], axis=1)
            wrong = query_group[some, None] != groups[None, begin:end]
            worse[some] += (wrong & ~(similarity < bar - TIE)).sum(axis=1)
            better[some] += (wrong & ~(similarity <= bar + TIE)).sum(axis=1)
            begin = end
    answered = np.isin(query_group, groups)
    return np.where(answered, worse + 1, 0), np.where(answered, better + 1, 0)


def _best_right(
    query: np.ndarray, gallery: np.ndarray, query_group: np.ndarray, gallery_group: np.ndarray
) -> np.ndarray:
    """Similarity of each query to the most similar entry that is right; NaN without one."""
    right = positive_pairs(query, gallery, query_group, gallery_group)
    best, answered = np.full(len(query), np.nan), np.diff(right.first) > 0
    best[answered] = right.similarity[right.first[:-1][answered]]
    return best


def most_similar(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    k: int,
    *,
    block: int = BLOCK[1],
    mesh: Mesh | None = None,
) -> tuple[Int[np.ndarray, "n k2"], Float[np.ndarray, "n k2"]]:
    """The `k` most similar entries of the gallery for each query, best first, and their similarities.

    Fewer than `k` where the gallery is smaller. Equal similarities keep the order of the gallery; those
    that are not numbers stand last.

    Args:
      query, gallery: embeddings.
      k: entries wanted of each query.
      block: entries compared at a time, on the host.
      mesh: what finds the candidates; the host does without one.
    """
    width = min(k, len(gallery))
    entries, similarities = np.zeros((len(query), width), np.int64), np.zeros((len(query), width))
    kept = min(width + _SPARE, len(gallery))
    error = _error(query.shape[1]) * _norms(gallery).max(initial=0)
    if mesh is not None and entries.size:
        candidates = mesh_candidates(query, gallery, kept, mesh)
        return _exact_topk(query, gallery, *candidates, width, MESH_ERROR * error, block)
    for start in range(0, len(query) if width else 0, BLOCK[0]):
        some = slice(start, start + BLOCK[0])
        candidates = _candidates(query[some], gallery, kept, block)
        entries[some], similarities[some] = _exact_topk(query[some], gallery, *candidates, width, error, block)
    return entries, similarities


def _exact_topk(
    query: np.ndarray, gallery: np.ndarray, found: np.ndarray, least: np.ndarray, width: int, error: float, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the candidates that float32 found the `width` best by float64, where that is certain to be right."""
    kept = found.shape[1]
    rows = np.repeat(np.arange(len(query)), kept)
    exact = products(query, gallery, rows, found.ravel()).reshape(found.shape)
    order = np.lexsort((found, _last(exact)))[:, :width]
    found, exact = np.take_along_axis(found, order, axis=1), np.take_along_axis(exact, order, axis=1)
    if kept < len(gallery):
        margin = error * _norms(query)
        # Said by negation again: what is not a number is in doubt.
        for row in np.flatnonzero(~(exact[:, -1] > least + margin)):
            found[row], exact[row] = _whole_row(query[row], gallery, width, block)
    return found, exact


def _candidates(query: np.ndarray, gallery: np.ndarray, kept: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The `kept` best entries of each query in float32, in no order, and the least similarity among them."""
    quick = query.astype(np.float32)
    best, place = np.zeros((len(query), 0), np.float32), np.zeros((len(query), 0), np.int64)
    room = _buffer_size(query, gallery, block)
    for begin in range(0, len(gallery), block):
        similarity = _scores_f32(quick, gallery[begin : begin + block], room)
        np.fmax(similarity, -np.float32(np.inf), out=similarity)
        full = best.shape[1] == kept
        rows = np.flatnonzero(similarity.max(axis=1) > best.min(axis=1)) if full else np.arange(len(query))
        number = np.broadcast_to(np.arange(begin, begin + similarity.shape[1]), (len(rows), similarity.shape[1]))
        both = np.concatenate([best[rows], similarity[rows]], axis=1)
        number = np.concatenate([place[rows], number], axis=1)
        if both.shape[1] > kept:
            taken = np.argpartition(-both, kept - 1, axis=1)[:, :kept]
            both, number = np.take_along_axis(both, taken, axis=1), np.take_along_axis(number, taken, axis=1)
        if full:
            best[rows], place[rows] = both, number
        else:
            best, place = both, number
    return place, best.min(axis=1)


def _whole_row(query: np.ndarray, gallery: np.ndarray, width: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The best entries of one query in float64 alone."""
    parts = [gallery[begin : begin + block].astype(np.float64) for begin in range(0, len(gallery), block)]
    similarity = np.concatenate([part @ query.astype(np.float64) for part in parts])
    least = np.partition(_last(similarity), width - 1)[width - 1]
    near = np.flatnonzero(_last(similarity) <= least + _RESTING)
    exact = products(query[None], gallery, np.zeros(len(near), np.int64), near)
    order = np.lexsort((near, _last(exact)))[:width]
    return near[order], exact[order]


def _buffer_size(rows: np.ndarray, gallery: np.ndarray, block: int) -> np.ndarray:
    """Where the similarities of one block after another are put: fresh memory each time costs as much as they do."""
    return np.empty((len(rows), min(block, len(gallery))), np.float32)


def _scores_f32(query: np.ndarray, gallery: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Similarities in float32, to be used before the next ones."""
    return np.matmul(query, gallery.astype(np.float32, copy=False).T, out=room[:, : len(gallery)])


def _last(similarity: np.ndarray) -> np.ndarray:
    """What sorts the best first, and what is not a number last."""
    return np.where(np.isnan(similarity), np.inf, -similarity)


def _error(width: int) -> float:
    """Bound of the error of a float32 inner product, for vectors of length 1 that were rounded to float32 first."""
    return 1.01 * (width + 2) * 2.0**-24


def _norms(vectors: Shaped[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
    """Length of each vector, 0 where it is not a number: what it is compared with is not one either."""
    return np.nan_to_num(np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)), posinf=0)
