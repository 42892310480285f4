"""Retrieval between modalities: ranks, recalls, average precision, and what chance would give.

The similarity is the dot product of two embeddings (the cosine, as heads normalise them). A query's
rank is the place of its best-ranked positive. **Ties are broken pessimistically**: whatever is not
clearly less similar than that positive, by more than `TIE`, stands before it. Equal captions in the
gallery, a collapsed model, or an embedding that is not a number therefore count against the model.
The other extreme, every tie in the model's favour, is told as `r@K_optimistic`, and the mean over all
ways to break them as `r@K_expected`: an oracle is computed that way and must be compared with it.

A clip may stand on a side more than once, as it does with several captions. Each of them is then a query
of its own. As entries of a gallery they are all right for their clip, whose rank is that of the best; the
rows `by_clip` rank the clips, each by its most similar caption.

Where clips share captions, as with captions that are class names, the rows `distinct` take equal captions for one: one
query, for which every clip of that caption is right, and one entry of the gallery.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, Shaped

from mmvideo.evaluation.metrics.chance import binomial_tail, chance_of_hit, mean_rank_p_value
from mmvideo.evaluation.retrieval.device_search import mesh_for
from mmvideo.evaluation.retrieval.dual_softmax import dual_softmax_ranks
from mmvideo.evaluation.retrieval.exact_search import (
    BLOCK,
    TIE,
    PositivePairs,
    count_higher_ranked_negatives,
    group_ranks,
    most_similar,
    named_pairs,
    positive_pairs,
)
from mmvideo.objectives.components.modality_groups import group_and_space

RECALLS: tuple[int, ...] = (1, 5, 10, 50)
"""Places that count as found."""

PROTOCOL: dict[str, str] = {
    "similarity": "dot product of l2-normalised embeddings, exact over the whole gallery",
    "ties": f"pessimistic: a wrong entry within {TIE:g} of the best right one is ranked before it",
    "ties_expected": "r@K_expected: the mean over random ways to break ties, as an oracle's recalls are computed",
    "positives": "the clip itself; where several are right, the best ranked",
    "map": "mean over queries of average precision over all that is right; the reciprocal rank where that is one",
    "missing": "clips that lack either modality are left out of query and gallery, counted in left_out",
    "p_value": "one-sided exact binomial test of the hits against a random order",
}
"""What the numbers of this file mean, as it is written beside them."""

DUAL_SOFTMAX = (
    "dsl/: similarity times its softmax over the queries, of cosines multiplied by {scale:g} (CAMoE, arXiv 2109.04290);"
    " uses the whole set of queries at once"
)
DISTINCT = (
    "distinct/: equal captions (but for blanks) are one query, for which every clip of that caption is right, and one "
    "entry of the gallery; without it, ties between them count against the model"
)
BY_CLIP = "by_clip/: the gallery's clips are ranked, each by its most similar caption; without it, captions are"


@dataclasses.dataclass(frozen=True)
class Side:
    """What stands for the clips on one side of a direction.

    Attributes:
      vectors: embeddings.
      clip: of which clip each is, by a number that both sides share.
      words: what each says; None where they are no texts.
    """

    vectors: Float[np.ndarray, "m _"]
    clip: Int[np.ndarray, "m"]
    words: Shaped[np.ndarray, "m"] | None = None

    def of(self, clips: Int[np.ndarray, "c"]) -> Side:
        """What belongs to some clips."""
        kept = np.isin(self.clip, clips)
        return Side(self.vectors[kept], self.clip[kept], None if self.words is None else self.words[kept])


def sides(
    vectors: Mapping[str, Float[np.ndarray, "n _"]], present: Mapping[str, Bool[np.ndarray, "n"]]
) -> dict[str, Side]:
    """Sides of clips that are embedded once each; a row without the modality is ignored, whatever it holds."""
    return {name: Side(vectors[name][present[name]], np.flatnonzero(present[name])) for name in vectors}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Where what is right for `n` queries stands.

    Attributes:
      worst, best: rank of the best positive, from 1, ties against the model and for it; 0 where nothing is right.
      precision, precision_optimistic: average precision over all positives, with the ties so broken.
      positives: how many are right.
      gallery: how many entries there are.
    """

    worst: Int[np.ndarray, "n"]
    best: Int[np.ndarray, "n"]
    precision: Float[np.ndarray, "n"]
    precision_optimistic: Float[np.ndarray, "n"]
    positives: Int[np.ndarray, "n"]
    gallery: int


def rank(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "n"],
    gallery_group: Int[np.ndarray, "m"],
    *,
    block: tuple[int, int] = BLOCK,
    mesh: Mesh | None = None,
) -> Ranking:
    """Ranks queries' positives in the whole gallery.

    An entry of the gallery is right for a query when their groups are equal; a clip's number is the
    group when only the clip itself is right. Memory is bounded by `block`, not by `n * m`.

    Args:
      query, gallery: embeddings.
      query_group, gallery_group: who belongs to whom.
      block: queries and entries compared at a time.
      mesh: where they are compared, on all its processes alike, if it is worth it; None is the host.
    """
    mesh = mesh_for(mesh, len(query), *gallery.shape)
    return rank_pairs(
        query, gallery, positive_pairs(query, gallery, query_group, gallery_group), block=block, mesh=mesh
    )


def rank_pairs(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    right: PositivePairs,
    *,
    block: tuple[int, int] = BLOCK,
    mesh: Mesh | None = None,
) -> Ranking:
    """Ranks the entries that are right for each query in the whole gallery; `mesh` only where they are groups."""
    positives = np.diff(right.first)
    answered = positives > 0
    place = 1 + np.arange(len(right.query)) - right.first[right.query]
    ranks, precisions = [], []
    for before in count_higher_ranked_negatives(query, gallery, right, block=block, mesh=mesh):
        first = np.zeros(len(query), np.int64)
        first[answered] = 1 + before[right.first[:-1][answered]]
        precision = np.bincount(right.query, place / (place + before), minlength=len(query))
        ranks.append(first)
        precisions.append(precision / np.maximum(positives, 1))
    return Ranking(*ranks, *precisions, positives, len(gallery))


def retrieval_metrics(ranking: Ranking, ks: Sequence[int] = RECALLS) -> dict[str, float | int]:
    """Recalls, ranks, precision, chance and its p-values of one direction.

    Returns:
      `r@K`, `r@K_optimistic`, `r@K_expected`, `r@K_p_value` and `chance@K` for each K, `chance` (that
      of R@1), `median_rank`, `mean_rank`, `map`, `map_optimistic`, where each query has one positive also
      `mean_rank_p_value`, and `clips`, the number of queries, of which `ties` have a rank that hangs on ties.
      Only `clips` when no query has anything right in the gallery. Where several positives tie with each other,
      `r@K_expected` takes them for one.
    """
    asked = ranking.positives > 0
    clips = int(asked.sum())
    if not clips:
        return {"clips": 0}
    worst, best, positives = ranking.worst[asked], ranking.best[asked], ranking.positives[asked]
    metrics = rank_metrics(worst, best, ks)
    for k in ks:
        chance = float(chance_of_hit(ranking.gallery, positives, k).mean())
        metrics[f"r@{k}_expected"] = float(np.clip((k + 1 - best) / (worst - best + 1), 0.0, 1.0).mean())
        metrics[f"r@{k}_p_value"] = binomial_tail(int((worst <= k).sum()), clips, min(chance, 1.0))
        metrics[f"chance@{k}"] = chance
    if (positives == 1).all():
        metrics["mean_rank_p_value"] = mean_rank_p_value(float(worst.mean()), ranking.gallery, clips)
    return metrics | {
        "chance": float(chance_of_hit(ranking.gallery, positives, 1).mean()),
        "map": float(ranking.precision[asked].mean()),
        "map_optimistic": float(ranking.precision_optimistic[asked].mean()),
        "clips": clips,
        "ties": int((worst > best).sum()),
    }


def rank_metrics(
    worst: Int[np.ndarray, "n"], best: Int[np.ndarray, "n"], ks: Sequence[int] = RECALLS
) -> dict[str, float | int]:
    """`r@K` and `r@K_optimistic` for each K, `median_rank` and `mean_rank`, from ranks of queries that have any."""
    metrics: dict[str, float | int] = {}
    for k in ks:
        metrics |= {f"r@{k}": float((worst <= k).mean()), f"r@{k}_optimistic": float((best <= k).mean())}
    return metrics | {"median_rank": float(np.median(worst)), "mean_rank": float(worst.mean())}


@dataclasses.dataclass(frozen=True)
class Direction:
    """One side asks, the other answers; of both only the clips that have both.

    Attributes:
      source, target: names of the sides.
      query, gallery: what asks, and what is searched.
      left_out: clips that lack either.
      mesh: as of `rank`.
    """

    source: str
    target: str
    query: Side
    gallery: Side
    left_out: int
    mesh: Mesh | None = None

    @property
    def name(self) -> str:
        """Such as `text_to_video`; in another space than the main one `audio_to_video@video_audio`."""
        return f"{group_and_space(self.source)[0]}_to_{self.target}"

    def most_similar(self, k: int) -> tuple[Int[np.ndarray, "n k2"], Float[np.ndarray, "n k2"]]:
        """The `k` best entries of each query and their similarities: `search.most_similar`."""
        query, gallery = self.query.vectors, self.gallery.vectors
        return most_similar(query, gallery, k, mesh=mesh_for(self.mesh, len(query), *gallery.shape))

    @functools.cached_property
    def ranking(self) -> Ranking:
        """Ranks of all queries."""
        return rank(*self._compared, mesh=self.mesh)

    def metrics(self, ks: Sequence[int] = RECALLS, dual_softmax: float | None = None) -> dict[str, float | int]:
        """Those of `retrieval_metrics`, rows `dsl/` and, where clips stand in the gallery more than once, `by_clip/`.

        Args:
          ks: places that count as found.
          dual_softmax: scale of the dual softmax; None leaves it out.
        """
        found = retrieval_metrics(self.ranking, ks) | {"left_out": self.left_out}
        if not len(self.query.clip):
            return found
        if dual_softmax is not None:
            found |= _row("dsl", rank_metrics(*dual_softmax_ranks(*self._compared, dual_softmax), ks))
        clips = len(np.unique(self.gallery.clip))
        if clips < len(self.gallery.clip):
            found |= _row("by_clip", rank_metrics(*group_ranks(*self._compared), ks))
            found |= {f"by_clip/chance@{k}": min(k / clips, 1.0) for k in ks}
        return found | self._distinct(ks)

    def _distinct(self, ks: Sequence[int]) -> dict[str, float | int]:
        """Rows `distinct/`, and `repeated`, the share of captions that stand for more than one clip; else nothing."""
        texts = self.query if self.query.words is not None else self.gallery
        if texts.words is None:
            return {}
        said = distinct_captions(texts)
        if not said.repeated:
            return {}
        media, captions = (self.gallery, self.query) if texts is self.query else (self.query, self.gallery)
        captions = captions.vectors[said.first]
        caption, entry = said.pairs(media)
        if texts is self.query:
            ranking = rank_pairs(captions, media.vectors, named_pairs(captions, media.vectors, caption, entry))
        else:
            ranking = rank_pairs(media.vectors, captions, named_pairs(media.vectors, captions, entry, caption))
        found = retrieval_metrics(ranking, ks) | {"gallery": ranking.gallery}
        return _row("distinct", found) | {"repeated": said.repeated}

    @property
    def _compared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.query.vectors, self.gallery.vectors, self.query.clip, self.gallery.clip


@dataclasses.dataclass(frozen=True)
class DistinctCaptions:
    """Captions of which equal ones are one.

    Attributes:
      first: the first entry of each distinct caption.
      caption, clip: pairs of a distinct caption and a clip that it stands for, each once.
      repeated: the share of captions, a clip's own counted once, that stand for another clip too.
    """

    first: Int[np.ndarray, "c"]
    caption: Int[np.ndarray, "p"]
    clip: Int[np.ndarray, "p"]
    repeated: float

    def pairs(self, media: Side) -> tuple[Int[np.ndarray, "q"], Int[np.ndarray, "q"]]:
        """The distinct captions and the entries of a side whose clips they stand for, one entry a clip."""
        order = np.argsort(media.clip, kind="stable")
        place = np.searchsorted(media.clip[order], self.clip)
        return self.caption, order[place]


def distinct_captions(texts: Side) -> DistinctCaptions:
    """The distinct words of a side of texts; blanks around and between words don't count.

    Of the captions `a dog`, `a cat`, `a dog` of three clips, `first` is 1 and 0 (in the order of the words), and
    `repeated` 2/3.
    """
    words = np.array([" ".join(str(said).split()) for said in texts.words])
    _, first, number = np.unique(words, return_index=True, return_inverse=True)
    pairs = (
        np.unique(np.stack([number.reshape(-1), texts.clip], axis=1), axis=0) if len(words) else np.zeros((0, 2), int)
    )
    clips = np.bincount(pairs[:, 0], minlength=len(first))
    repeated = float((clips[pairs[:, 0]] > 1).mean()) if len(pairs) else 0.0
    return DistinctCaptions(first, pairs[:, 0], pairs[:, 1], repeated)


def _row(name: str, metrics: Mapping[str, float | int]) -> dict[str, float | int]:
    return {f"{name}/{key}": value for key, value in metrics.items()}


def directions(names: Sequence[str]) -> list[tuple[str, str]]:
    """Ordered pairs of names of one space that share no modality: video and text, but not video and video+audio."""
    return [(a, b) for a, b in itertools.permutations(names, 2) if _comparable(a, b)]


def _comparable(a: str, b: str) -> bool:
    (group, space), (other, elsewhere) = group_and_space(a), group_and_space(b)
    return space == elsewhere and not set(group.split("+")) & set(other.split("+"))


def directions_of(found: Mapping[str, Side], clips: int, mesh: Mesh | None = None) -> list[Direction]:
    """Every direction between sides, of a corpus of so many clips."""
    result = []
    for source, target in directions(list(found)):
        both = np.intersect1d(found[source].clip, found[target].clip)
        result.append(
            Direction(source, target, found[source].of(both), found[target].of(both), clips - len(both), mesh)
        )
    return result


def retrieval(
    found: Sequence[Direction],
    oracle: Mapping[str, float] | None = None,
    ks: Sequence[int] = RECALLS,
    dual_softmax: float | None = None,
) -> dict[str, float | int]:
    """Metrics of every direction.

    Args:
      found: the directions.
      oracle: what the best possible model would score, by names such as `text_to_video/r@1`.
      ks: places that count as found.
      dual_softmax: scale of the dual softmax; None leaves its rows out.

    Returns:
      `{query}_to_{gallery}/{name}` for every name of `Direction.metrics`, among them `left_out`, the clips
      of the corpus that lack either modality; `oracle` (that of R@1) and `oracle@K` where known.
    """
    metrics: dict[str, float | int] = {}
    for one in found:
        own = one.metrics(ks, dual_softmax) | _oracle(oracle or {}, group_and_space(one.name)[0], ks)
        metrics |= _row(one.name, own)
    return metrics


def _oracle(oracle: Mapping[str, float], direction: str, ks: Sequence[int]) -> dict[str, float | int]:
    """The oracle's recalls in one direction under the names of the metrics file."""
    known = {k: float(oracle[f"{direction}/r@{k}"]) for k in ks if f"{direction}/r@{k}" in oracle}
    named = {f"oracle@{k}": value for k, value in known.items()}
    return named | ({"oracle": known[1]} if 1 in known else {})
