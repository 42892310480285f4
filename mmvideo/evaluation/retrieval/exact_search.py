"""Exact search in blocks: the number of entries ranked before the right one, and the most similar entries.

No array of the size `n x m` is ever held. Blocks of similarities are computed in float32 with a bounded error: an inner
product of `d` numbers, summed in any order, errs by at most `d u / (1 - d u)` times the norms of the two vectors, with
`u = 2^-24` (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1). Pairs that this bound leaves
open are computed again in float64, so that every count equals that of the whole matrix in float64. The blocks are
computed on the host or on a mesh (`device_search`), with the same result.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int, Shaped

from mmvideo.evaluation.retrieval.device_search import mesh_candidates, mesh_counts
from mmvideo.evaluation.retrieval.positive_pairs import PositivePairs, positive_pairs, products

TIE = 1e-6
"""Difference below which similarities are tied: float32 unit embeddings carry no finer difference."""

BLOCK = 512, 2048
"""Number of rows and of entries compared at a time; their similarities take 4 MiB."""

MESH_ERROR = 8
"""Factor of the host's error bound on a mesh: TPUs compose a float32 product of bfloat16 products."""

_FEW = 32  # cost of one pair compared alone, in pairs of a matrix product
_SPARE = 16  # entries kept beyond `k`, to resolve ties among them in float64
_RESTING = 1e-12  # bound of the difference between float64 similarities of unit vectors from block to block


def count_higher_ranked_negatives(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    right: PositivePairs,
    *,
    block: tuple[int, int] = BLOCK,
    mesh: Mesh | None = None,
) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"]]:
    """Count, for every right pair, the wrong entries before it, with ties counted against the pair, and for it.

    The pessimistic count has all entries that are not less similar by more than `TIE`. The optimistic count has only
    those that are more similar by more than `TIE`. An entry with a NaN similarity is before every pair.

    Args:
      query: Embeddings of the queries.
      gallery: Embeddings of the entries.
      right: The pairs; no right entry of a query counts for any of its pairs.
      block: Number of pairs and of entries compared at a time, on the host.
      mesh: Mesh that counts the clear pairs. None counts all pairs on the host.
    """
    pairs = np.arange(len(right.query))
    worse, better = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    error = _error(query.shape[1]) * _norms(gallery).max(initial=0)
    if mesh is not None and len(pairs):
        worse[:], doubtful = _on_mesh(query, gallery, right, error, mesh)
        better[:] = worse
        # The mesh left some entries open for these pairs: the host counts all entries of them again, from 0.
        pairs = np.flatnonzero(doubtful.astype(bool) & ~np.isnan(right.similarity))
        worse[pairs], better[pairs] = 0, 0
    for start in range(0, len(pairs), block[0]):
        some = pairs[start : start + block[0]]
        asked, row = np.unique(right.query[some], return_inverse=True)
        chunk = _Chunk.of(query[asked], row, right.similarity[some], error, *_entries_of(right, asked))
        buffer = _buffer_size(asked, gallery, block[1])
        for begin in range(0, len(gallery), block[1]):
            more = chunk.compare(gallery[begin : begin + block[1]], begin, buffer)
            worse[some] += more[0]
            better[some] += more[1]
    # A right entry with a NaN similarity is after all wrong ones.
    lost = np.isnan(right.similarity)
    wrong = len(gallery) - np.diff(right.first)[right.query[lost]]
    worse[lost], better[lost] = wrong, wrong
    return worse, better


def _on_mesh(
    query: np.ndarray, gallery: np.ndarray, right: PositivePairs, error: float, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """Count the wrong entries that are clearly before each right pair, and those that float32 leaves open."""
    asked = query[right.query]
    low, high = _bars(right.similarity, MESH_ERROR * error * _norms(asked))
    # Groups are renumbered from 0, because -1 marks padding on the mesh.
    _, groups = np.unique(np.concatenate([right.query_group, right.gallery_group]), return_inverse=True)
    own, others = groups[: len(query)][right.query], groups[len(query) :]
    return mesh_counts(asked, gallery, own, others, low, high, mesh)


def _bars(bar: Float[np.ndarray, "p"], error: Float[np.ndarray, "p"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds below, and above, which a float32 similarity is clearly lower, or higher, than `bar`."""
    infinity = np.float32(np.inf)
    # Rounding to float32 may go either way, so `nextafter` moves each bound outwards by one step.
    low = (bar - TIE - error).astype(np.float32)
    high = (bar + TIE + error).astype(np.float32)
    return np.nextafter(low, -infinity), np.nextafter(high, infinity)


def _entries_of(right: PositivePairs, asked: Int[np.ndarray, "a"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the right entries of some queries in the order of the gallery, and the index in `asked` of their query."""
    count = right.first[asked + 1] - right.first[asked]
    # right.first [0, 2, 3, 5], asked [0, 2]: count [2, 2], the pairs start at [0, 3], and pairs is [0, 1, 3, 4].
    pairs = np.arange(count.sum()) + np.repeat(right.first[asked] - np.cumsum(count) + count, count)
    order = np.argsort(right.entry[pairs], kind="stable")
    return right.entry[pairs][order], np.repeat(np.arange(len(asked)), count)[order]


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Some queries and some of their right pairs.

    Attributes:
      exact: Queries as they are.
      query: Queries in float32.
      row: Row in `query` of each pair.
      bar: Similarity of each pair.
      low: Bound below which a similarity is clearly lower than that of the pair.
      high: Bound above which it is clearly higher; between the bounds it is open.
      right: Right entries of all queries, ascending.
      owner: Row in `query` of each right entry.
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
        """Return a chunk; `error` is the bound for a query of length 1."""
        # The float32 error grows with the lengths of query and entry; `error` holds the longest entry of the gallery.
        low, high = _bars(bar, error * _norms(query)[row])
        return cls(query, query.astype(np.float32), row, bar, low, high, right, owner)

    def compare(
        self, gallery: Float[np.ndarray, "m d"], begin: int, buffer: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the wrong entries of a part of the gallery that are not clearly lower, and those clearly higher."""
        similarity = _scores_f32(self.query, gallery, buffer)
        # Right entries get -inf, so that they never count. With right [3, 7, 9] and the part [5, 9), known is slice(1,
        # 2).
        known = slice(*np.searchsorted(self.right, [begin, begin + len(gallery)]))
        similarity[self.owner[known], self.right[known] - begin] = -np.inf
        if len(self.query) < len(self.row):
            similarity = similarity[self.row]
        # Similarity matrix of pairs x entries. Open entries are neither `less` nor above `high`, NaN among them.
        less = similarity < self.low[:, None]
        more = np.count_nonzero(similarity > self.high[:, None], axis=1)
        worse = more.copy()
        better = more
        # entries - less = those that are higher or open: more than `more` means that some are open.
        open_rows = np.flatnonzero(len(gallery) - np.count_nonzero(less, axis=1) > more)
        if len(open_rows):
            close = ~less[open_rows] & ~(similarity[open_rows] > self.high[open_rows, None])
            within, entry = np.nonzero(close)
            pair = open_rows[within]
            exact = self._again(gallery, self.row[pair], entry)
            # The negation counts NaN against the pair: every comparison with NaN is False.
            worse += np.bincount(pair[~(exact < self.bar[pair] - TIE)], minlength=len(worse))
            better += np.bincount(pair[~(exact <= self.bar[pair] + TIE)], minlength=len(better))
        return worse, better

    def _again(self, gallery: np.ndarray, rows: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """Return similarities in float64: one by one if they are few, else from the product of the whole block."""
        # 10 open pairs of 512 x 2048: 10 * 32 is far below a million, so they are computed one by one.
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
    """Return the rank of each query's group among all groups, each as similar as its most similar entry.

    The ranks are pessimistic and optimistic, from 1, and 0 if the gallery has no entry of the group. All are computed
    in float64.
    """
    order = np.argsort(gallery_group, kind="stable")
    groups, first = np.unique(gallery_group[order], return_index=True)
    first = np.append(first, len(order))
    best = _best_right(query, gallery, query_group, gallery_group)
    worse, better = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
    for start in range(0, len(query), block[0]):
        some = slice(start, start + block[0])
        begin = 0
        asked = query[some].astype(np.float64)
        bar = best[some, None]
        while begin < len(groups):
            # Whole groups with at most a block of entries, but at least one group. With first [0, 2, 5, 9] and
            # blocks of 5 entries, the parts are groups 0 and 1 (entries 0 to 4), then group 2 (entries 5 to 8).
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
    """Return the similarity of each query to its most similar right entry; NaN without one."""
    right = positive_pairs(query, gallery, query_group, gallery_group)
    best = np.full(len(query), np.nan)
    answered = np.diff(right.first) > 0
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
    """Return the `k` most similar entries of the gallery for each query, best first, and their similarities.

    There are fewer than `k` if the gallery is smaller. Equal similarities keep the order of the gallery; NaN comes
    last.

    Args:
      query: Embeddings of the queries.
      gallery: Embeddings of the entries.
      k: Number of entries of each query.
      block: Number of entries compared at a time, on the host.
      mesh: Mesh that finds the candidates. None finds them on the host.
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
    """Return the `width` best of the float32 candidates by float64, or by a full search where they are uncertain."""
    kept = found.shape[1]
    rows = np.repeat(np.arange(len(query)), kept)
    exact = products(query, gallery, rows, found.ravel()).reshape(found.shape)
    order = np.lexsort((found, _last(exact)))[:, :width]
    found, exact = np.take_along_axis(found, order, axis=1), np.take_along_axis(exact, order, axis=1)
    if kept < len(gallery):
        margin = error * _norms(query)
        # An entry that float32 left out has a float32 similarity of at most `least`, so in float64 at most
        # least + margin. The result is certain if its last entry is above that. The negation makes NaN uncertain.
        for row in np.flatnonzero(~(exact[:, -1] > least + margin)):
            found[row], exact[row] = _whole_row(query[row], gallery, width, block)
    return found, exact


def _candidates(query: np.ndarray, gallery: np.ndarray, kept: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `kept` best entries of each query in float32, in any order, and the lowest similarity among them."""
    quick = query.astype(np.float32)
    best, place = np.zeros((len(query), 0), np.float32), np.zeros((len(query), 0), np.int64)
    buffer = _buffer_size(query, gallery, block)
    for begin in range(0, len(gallery), block):
        similarity = _scores_f32(quick, gallery[begin : begin + block], buffer)
        # NaN becomes -inf: the maxima and minima below would otherwise be NaN.
        np.fmax(similarity, -np.float32(np.inf), out=similarity)
        full = best.shape[1] == kept
        # Once the lists are full, only queries with a better entry in this block need a merge.
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
    """Return the best entries of one query from float64 similarities alone."""
    parts = [gallery[begin : begin + block].astype(np.float64) for begin in range(0, len(gallery), block)]
    similarity = np.concatenate([part @ query.astype(np.float64) for part in parts])
    least = np.partition(_last(similarity), width - 1)[width - 1]
    # Products of blocks of different sizes may round differently: entries near the last place are computed again,
    # alike.
    near = np.flatnonzero(_last(similarity) <= least + _RESTING)
    exact = products(query[None], gallery, np.zeros(len(near), np.int64), near)
    order = np.lexsort((near, _last(exact)))[:width]
    return near[order], exact[order]


def _buffer_size(rows: np.ndarray, gallery: np.ndarray, block: int) -> np.ndarray:
    """Return an array for the similarities of one block after another.

    Allocating new memory for each block would cost as much as the products themselves.
    """
    return np.empty((len(rows), min(block, len(gallery))), np.float32)


def _scores_f32(query: np.ndarray, gallery: np.ndarray, buffer: np.ndarray) -> np.ndarray:
    """Return similarities in float32, in memory that the next call overwrites."""
    return np.matmul(query, gallery.astype(np.float32, copy=False).T, out=buffer[:, : len(gallery)])


def _last(similarity: np.ndarray) -> np.ndarray:
    """Return sort keys that put the highest similarity first and NaN last."""
    return np.where(np.isnan(similarity), np.inf, -similarity)


def _error(width: int) -> float:
    """Return the error bound of a float32 inner product of vectors of length 1 that were rounded to float32 first."""
    return 1.01 * (width + 2) * 2.0**-24


def _norms(vectors: Shaped[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
    """Return the length of each vector, 0 if it is not finite: its similarities are NaN anyway."""
    return np.nan_to_num(np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)), posinf=0)
