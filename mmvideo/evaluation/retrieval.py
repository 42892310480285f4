"""Zero-shot retrieval between modalities: ranks, recalls, and what chance would give.

The similarity is the dot product of two embeddings (the cosine, as heads normalise them). A query's
rank is the place of its best-ranked positive. **Ties are broken pessimistically**: whatever is not
clearly less similar than that positive, by more than `TIE`, stands before it. Equal captions in the
gallery, a collapsed model, or an embedding that is not a number therefore count against the model.
The other extreme, every tie in the model's favour, is told as `r@K_optimistic`, and the mean over all
ways to break them as `r@K_expected`: an oracle is computed that way and must be compared with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation.chance import binomial_tail, chance_of_hit, mean_rank_p_value

TIE = 1e-6
"""Similarities closer than this are tied: float32 embeddings of unit length carry no finer difference."""

RECALLS: tuple[int, ...] = (1, 5, 10)
"""Places that count as found."""

PROTOCOL: dict[str, str] = {
    "similarity": "dot product of l2-normalised embeddings",
    "ties": f"pessimistic: a wrong entry within {TIE:g} of the best right one is ranked before it",
    "ties_expected": "r@K_expected: the mean over random ways to break ties, as an oracle's recalls are computed",
    "positives": "the clip itself; where several are right, the best ranked",
    "missing": "clips that lack either modality are left out of query and gallery, counted in left_out",
    "p_value": "one-sided exact binomial test of the hits against a random order",
}
"""What the numbers of this file mean, as it is written beside them."""

_QUERIES, _ENTRIES = 256, 4096  # a block of similarities takes 8 MiB


def ranks(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
    *,
    block: tuple[int, int] = (_QUERIES, _ENTRIES),
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Rank of the best positive of each query, ties against the model and ties for it.

    An entry of the gallery is right for a query when their groups are equal; a clip's number is the
    group when only the clip itself is right. Memory is bounded by `block`, not by `n * m`.

    Args:
      query, gallery: embeddings.
      query_group, gallery_group: who belongs to whom.
      block: queries and entries compared at a time.

    Returns:
      Pessimistic and optimistic ranks, from 1; 0 where the gallery holds nothing right.
    """
    query, gallery = np.asarray(query, np.float64), np.asarray(gallery, np.float64)
    best, positives = _best_positive(query, gallery, query_group, gallery_group, chunk=block[0] * 16)
    worse, better = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
    for first in range(0, len(query), block[0]):
        some = slice(first, first + block[0])
        bar = best[some, None]
        for start in range(0, len(gallery), block[1]):
            part = slice(start, start + block[1])
            similarity = query[some] @ gallery[part].T
            wrong = query_group[some, None] != gallery_group[None, part]
            # Said by negation, so that a similarity that is not a number never helps.
            worse[some] += (wrong & ~(similarity < bar - TIE)).sum(axis=1)
            better[some] += (wrong & ~(similarity <= bar + TIE)).sum(axis=1)
    return np.where(positives > 0, worse + 1, 0), np.where(positives > 0, better + 1, 0)


def _best_positive(
    query: np.ndarray, gallery: np.ndarray, query_group: np.ndarray, gallery_group: np.ndarray, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of each query to its most similar positive (NaN if none), and how many it has."""
    order = np.argsort(gallery_group, kind="stable")
    start = np.searchsorted(gallery_group[order], query_group, side="left")
    positives = np.searchsorted(gallery_group[order], query_group, side="right") - start
    best = np.full(len(query), np.nan)
    pairs = np.repeat(np.arange(len(query)), positives)
    place = np.arange(len(pairs)) - np.repeat(np.cumsum(positives) - positives, positives) + start[pairs]
    for first in range(0, len(pairs), chunk):
        rows, entries = pairs[first : first + chunk], order[place[first : first + chunk]]
        np.fmax.at(best, rows, np.einsum("nd,nd->n", query[rows], gallery[entries]))
    return best, positives


def most_similar(
    query: Float[np.ndarray, "n d"], gallery: Float[np.ndarray, "m d"], k: int
) -> tuple[Int[np.ndarray, "n k2"], Float[np.ndarray, "n k2"]]:
    """The `k` most similar entries of the gallery for each query, best first, and their similarities.

    Fewer than `k` where the gallery is smaller. Equal similarities keep the order of the gallery.
    """
    gallery = np.asarray(gallery, np.float64)
    entries, similarities = [], []
    for first in range(0, len(query), _QUERIES):
        similarity = np.asarray(query[first : first + _QUERIES], np.float64) @ gallery.T
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        entries.append(order)
        similarities.append(np.take_along_axis(similarity, order, axis=1))
    width = min(k, len(gallery))
    if not entries:
        return np.zeros((0, width), np.int64), np.zeros((0, width))
    return np.concatenate(entries), np.concatenate(similarities)


def retrieval_metrics(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
    ks: Sequence[int] = RECALLS,
) -> dict[str, float | int]:
    """Recalls, ranks, chance and its p-values of one direction.

    Returns:
      `r@K`, `r@K_optimistic`, `r@K_expected`, `r@K_p_value` and `chance@K` for each K, `chance` (that
      of R@1), `median_rank`, `mean_rank`, where each query has one positive also
      `mean_rank_p_value`, and `clips`, the number of queries. Only `clips` when no
      query has anything right in the gallery. Where several positives tie with each other,
      `r@K_expected` takes them for one.
    """
    worst, best = ranks(query, gallery, query_group, gallery_group)
    groups, sizes = np.unique(gallery_group, return_counts=True)
    asked = worst > 0
    clips = int(asked.sum())
    if not clips:
        return {"clips": 0}
    worst, best = worst[asked], best[asked]
    positives = sizes[np.searchsorted(groups, query_group[asked])]
    metrics: dict[str, float | int] = {}
    for k in ks:
        hits = worst <= k
        chance = float(chance_of_hit(len(gallery), positives, k).mean())
        metrics[f"r@{k}"] = float(hits.mean())
        metrics[f"r@{k}_optimistic"] = float((best <= k).mean())
        metrics[f"r@{k}_expected"] = float(np.clip((k + 1 - best) / (worst - best + 1), 0.0, 1.0).mean())
        metrics[f"r@{k}_p_value"] = binomial_tail(int(hits.sum()), clips, min(chance, 1.0))
        metrics[f"chance@{k}"] = chance
    if (positives == 1).all():
        metrics["mean_rank_p_value"] = mean_rank_p_value(float(worst.mean()), len(gallery), clips)
    one = float(chance_of_hit(len(gallery), positives, 1).mean())
    return metrics | {
        "chance": one,
        "median_rank": float(np.median(worst)),
        "mean_rank": float(worst.mean()),
        "clips": clips,
    }


def directions(names: Sequence[str]) -> list[tuple[str, str]]:
    """Ordered pairs of embeddings that share no modality: video and text, but not video and video+audio."""
    return [(a, b) for a, b in itertools.permutations(names, 2) if not set(a.split("+")) & set(b.split("+"))]


def retrieval(
    vectors: Mapping[str, Float[np.ndarray, "n _"]],
    present: Mapping[str, Bool[np.ndarray, "n"]],
    oracle: Mapping[str, float] | None = None,
    ks: Sequence[int] = RECALLS,
) -> dict[str, float | int]:
    """Retrieval in every direction between the embeddings of the same `n` clips.

    Args:
      vectors: embeddings by modality (or group of modalities, `video+audio`); row `i` is clip `i`.
      present: whether the clip has that modality; a row without it is ignored, whatever it holds.
      oracle: what the best possible model would score, by names such as `text_to_video/r@1`.
      ks: places that count as found.

    Returns:
      `{query}_to_{gallery}/{name}` for every name of `retrieval_metrics`, and `left_out`, the clips
      of the corpus that lack either modality; `oracle` (that of R@1) and `oracle@K` where known.
    """
    metrics: dict[str, float | int] = {}
    for source, target in directions(list(vectors)):
        both = present[source] & present[target]
        number = np.flatnonzero(both)
        found = retrieval_metrics(vectors[source][both], vectors[target][both], number, number, ks)
        found["left_out"] = int((~both).sum())
        for name, value in _oracle(oracle or {}, f"{source}_to_{target}", ks).items():
            found[name] = value
        metrics |= {f"{source}_to_{target}/{name}": value for name, value in found.items()}
    return metrics


def _oracle(oracle: Mapping[str, float], direction: str, ks: Sequence[int]) -> dict[str, float | int]:
    """The oracle's recalls in one direction under the names of the metrics file."""
    known = {k: float(oracle[f"{direction}/r@{k}"]) for k in ks if f"{direction}/r@{k}" in oracle}
    named = {f"oracle@{k}": value for k, value in known.items()}
    return named | ({"oracle": known[1]} if 1 in known else {})
