"""Retrieval between modalities: ranks, recall at K, average precision, and chance.

The similarity is the dot product of two embeddings (the cosine, as heads normalise them). The rank of a query is the
rank of its best positive. **Ties are broken pessimistically**: every entry that is not less similar than that positive
by more than `TIE` ranks before it. Equal captions in the gallery, a collapsed model, or a NaN embedding therefore count
against the model. The other extreme, every tie in the model's favour, is reported as `r@K_optimistic`, and the mean
over all ways to break ties as `r@K_expected`; compare an oracle, which is computed in that way, with the latter.

A clip may have several entries on a side, such as several captions. Each of them is then a query of its own. In a
gallery they are all right for their clip, whose rank is that of the best. The rows `by_clip` rank the clips, each by
its most similar caption.

Where clips share captions, such as class names, the rows `distinct` merge equal captions: into one query, for which
every clip of that caption is right, and into one entry of the gallery.
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
    count_higher_ranked_negatives,
    group_ranks,
    most_similar,
)
from mmvideo.evaluation.retrieval.positive_pairs import PositivePairs, named_pairs, positive_pairs
from mmvideo.objectives.components.modality_groups import group_and_space

RECALLS: tuple[int, ...] = (1, 5, 10, 50)
"""Values of K: ranks up to K count as found."""

PROTOCOL: dict[str, str] = {
    "similarity": "dot product of l2-normalised embeddings, exact over the whole gallery",
    "ties": f"pessimistic: a wrong entry within {TIE:g} of the best right one is ranked before it",
    "ties_expected": "r@K_expected: the mean over random ways to break ties, as an oracle's recalls are computed",
    "positives": "the clip itself; if several are right, the best ranked",
    "map": "mean over queries of average precision over all right entries; the reciprocal rank if there is one",
    "missing": "clips that lack either modality are left out of query and gallery, counted in left_out",
    "p_value": "one-sided exact binomial test of the hits against a random order",
}
"""Meaning of the metrics of this file, as written beside them."""

DUAL_SOFTMAX = (
    "dsl/: similarity times its softmax over the queries, of cosines multiplied by {scale:g} (CAMoE, arXiv 2109.04290);"
    " uses the whole set of queries at once"
)
DISTINCT = (
    "distinct/: equal captions (except for blanks) are one query, for which every clip of that caption is right, and "
    "one entry of the gallery; without it, ties between them count against the model"
)
BY_CLIP = "by_clip/: the gallery's clips are ranked, each by its most similar caption; without it, captions are"


@dataclasses.dataclass(frozen=True)
class Side:
    """The embeddings on one side of a direction.

    Attributes:
      vectors: Embeddings.
      clip: Clip of each embedding, by an index that both sides share.
      words: Text of each embedding; None if they are not of text.
    """

    vectors: Float[np.ndarray, "m _"]
    clip: Int[np.ndarray, "m"]
    words: Shaped[np.ndarray, "m"] | None = None

    def of(self, clips: Int[np.ndarray, "c"]) -> Side:
        """Return the embeddings of some clips."""
        kept = np.isin(self.clip, clips)
        return Side(self.vectors[kept], self.clip[kept], None if self.words is None else self.words[kept])


def sides(
    vectors: Mapping[str, Float[np.ndarray, "n _"]], present: Mapping[str, Bool[np.ndarray, "n"]]
) -> dict[str, Side]:
    """Return the sides of clips with one embedding each; rows without the modality are left out."""
    return {name: Side(vectors[name][present[name]], np.flatnonzero(present[name])) for name in vectors}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Ranks of the right entries of `n` queries.

    Attributes:
      worst: Rank of the best positive, from 1, with ties against the model; 0 if nothing is right.
      best: The same rank with ties for the model.
      precision: Average precision over all positives, with ties against the model.
      precision_optimistic: Average precision with ties for the model.
      positives: Number of right entries.
      gallery: Number of entries of the gallery.
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
    """Rank the positives of queries in the whole gallery.

    An entry of the gallery is right for a query if their groups are equal. The group is the clip's index if only the
    clip itself is right. Memory is bounded by `block`, not by `n * m`.

    Args:
      query: Embeddings of the queries.
      gallery: Embeddings of the entries.
      query_group: Group of each query.
      gallery_group: Group of each entry.
      block: Number of queries and of entries compared at a time.
      mesh: Mesh for large searches, which all its processes then run alike. None is the host.
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
    """Rank the right entries of each query in the whole gallery; `mesh` needs pairs that come from groups."""
    positives = np.diff(right.first)
    answered = positives > 0
    # Place of each pair among the positives of its query, from 1: first [0, 2, 3] and queries [0, 0, 1] give [1, 2, 1].
    place = 1 + np.arange(len(right.query)) - right.first[right.query]
    ranks, precisions = [], []
    for before in count_higher_ranked_negatives(query, gallery, right, block=block, mesh=mesh):
        first = np.zeros(len(query), np.int64)
        first[answered] = 1 + before[right.first[:-1][answered]]
        # Positives at ranks 1 and 4: places [1, 2], 0 and 2 negatives before them, average precision (1/1 + 2/4) / 2 =
        # 0.75.
        precision = np.bincount(right.query, place / (place + before), minlength=len(query))
        ranks.append(first)
        precisions.append(precision / np.maximum(positives, 1))
    return Ranking(*ranks, *precisions, positives, len(gallery))


def retrieval_metrics(ranking: Ranking, ks: Sequence[int] = RECALLS) -> dict[str, float | int]:
    """Return recalls, ranks, precision, chance and p-values of one direction.

    Returns:
      `r@K`, `r@K_optimistic`, `r@K_expected`, `r@K_p_value` and `chance@K` for each K; `chance` (of R@1);
        `median_rank`,
      `mean_rank`, `map`, `map_optimistic`; `mean_rank_p_value` if each query has one positive; `clips`, the number of
      queries, and `ties`, the number of them whose rank depends on ties. Only `clips` if no query has a right entry in
        the
      gallery. `r@K_expected` counts positives that tie with each other as one.
    """
    asked = ranking.positives > 0
    clips = int(asked.sum())
    if not clips:
        return {"clips": 0}
    worst, best, positives = ranking.worst[asked], ranking.best[asked], ranking.positives[asked]
    metrics = rank_metrics(worst, best, ks)
    for k in ks:
        chance = float(chance_of_hit(ranking.gallery, positives, k).mean())
        # Best rank 2, worst rank 5: the ranks 2 to 5 are equally likely, so K = 3 is reached in 2 of 4 cases.
        metrics[f"r@{k}_expected"] = float(np.clip((k + 1 - best) / (worst - best + 1), 0.0, 1.0).mean())
        metrics[f"r@{k}_p_value"] = binomial_tail(int((worst <= k).sum()), clips, min(chance, 1.0))
        metrics[f"chance@{k}"] = chance
    # The test is for one right entry a query: the mean of best ranks over several has another distribution.
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
    """Return `r@K` and `r@K_optimistic` for each K, `median_rank` and `mean_rank`, from ranks of 1 or more."""
    metrics: dict[str, float | int] = {}
    for k in ks:
        metrics |= {f"r@{k}": float((worst <= k).mean()), f"r@{k}_optimistic": float((best <= k).mean())}
    return metrics | {"median_rank": float(np.median(worst)), "mean_rank": float(worst.mean())}


@dataclasses.dataclass(frozen=True)
class Direction:
    """Search from one side to the other, over the clips that have both.

    Attributes:
      source: Name of the side of the queries.
      target: Name of the side that is searched.
      query: Queries.
      gallery: Entries to search.
      left_out: Number of clips that lack either side.
      mesh: Mesh, as for `rank`.
    """

    source: str
    target: str
    query: Side
    gallery: Side
    left_out: int
    mesh: Mesh | None = None

    @property
    def name(self) -> str:
        """Name of the direction, such as `text_to_video`; `audio_to_video@video_audio` outside the main space."""
        return f"{group_and_space(self.source)[0]}_to_{self.target}"

    def most_similar(self, k: int) -> tuple[Int[np.ndarray, "n k2"], Float[np.ndarray, "n k2"]]:
        """Return the `k` best entries of each query and their similarities; see `exact_search.most_similar`."""
        query, gallery = self.query.vectors, self.gallery.vectors
        return most_similar(query, gallery, k, mesh=mesh_for(self.mesh, len(query), *gallery.shape))

    @functools.cached_property
    def ranking(self) -> Ranking:
        """Ranks of all queries."""
        return rank(*self._compared, mesh=self.mesh)

    def metrics(self, ks: Sequence[int] = RECALLS, dual_softmax: float | None = None) -> dict[str, float | int]:
        """Return `retrieval_metrics`, rows `dsl/`, and rows `by_clip/` if clips have several entries in the gallery.

        Args:
          ks: Values of K.
          dual_softmax: Scale of the dual softmax. None leaves it out.
        """
        found = retrieval_metrics(self.ranking, ks) | {"left_out": self.left_out}
        if not len(self.query.clip):
            return found
        if dual_softmax is not None:
            found |= _row("dsl", rank_metrics(*dual_softmax_ranks(*self._compared, dual_softmax), ks))
        clips = len(np.unique(self.gallery.clip))
        if clips < len(self.gallery.clip):
            found |= _row("by_clip", rank_metrics(*group_ranks(*self._compared), ks))
            # Chance is over clips here: 10 clips with 5 captions each have chance@1 = 0.1.
            found |= {f"by_clip/chance@{k}": min(k / clips, 1.0) for k in ks}
        return found | self._distinct(ks)

    def _distinct(self, ks: Sequence[int]) -> dict[str, float | int]:
        """Return rows `distinct/`, and `repeated`, the share of captions of more than one clip; nothing without any."""
        texts = self.query if self.query.words is not None else self.gallery
        if texts.words is None:
            return {}
        said = distinct_captions(texts)
        if not said.repeated:
            return {}
        # Only the side of text is merged; the media keep one entry a clip.
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
    """Captions of which equal ones are merged.

    Attributes:
      first: First entry of each distinct caption.
      caption: Distinct caption of each pair with a clip; every pair occurs once.
      clip: Clip of each pair.
      repeated: Share of captions, each counted once a clip, that another clip has too.
    """

    first: Int[np.ndarray, "c"]
    caption: Int[np.ndarray, "p"]
    clip: Int[np.ndarray, "p"]
    repeated: float

    def pairs(self, media: Side) -> tuple[Int[np.ndarray, "q"], Int[np.ndarray, "q"]]:
        """Return the distinct captions and the entries of a side for their clips, with one entry a clip."""
        order = np.argsort(media.clip, kind="stable")
        place = np.searchsorted(media.clip[order], self.clip)
        return self.caption, order[place]


def distinct_captions(texts: Side) -> DistinctCaptions:
    """Return the distinct captions of a side of texts, ignoring differences in white space.

    For the captions `a dog`, `a cat`, `a dog` of three clips, `first` is 1 and 0 (in the order of the words), and
    `repeated` is 2/3.
    """
    words = np.array([" ".join(str(said).split()) for said in texts.words])
    _, first, number = np.unique(words, return_index=True, return_inverse=True)
    pairs = (
        np.unique(np.stack([number.reshape(-1), texts.clip], axis=1), axis=0) if len(words) else np.zeros((0, 2), int)
    )
    # `a dog`, `a cat`, `a dog` of clips 0, 1, 2: pairs [[0, 1], [1, 0], [1, 2]] and clips [1, 2] by caption.
    clips = np.bincount(pairs[:, 0], minlength=len(first))
    repeated = float((clips[pairs[:, 0]] > 1).mean()) if len(pairs) else 0.0
    return DistinctCaptions(first, pairs[:, 0], pairs[:, 1], repeated)


def _row(name: str, metrics: Mapping[str, float | int]) -> dict[str, float | int]:
    return {f"{name}/{key}": value for key, value in metrics.items()}


def directions(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return ordered pairs of names of one space without a shared modality: not video and video+audio."""
    return [(a, b) for a, b in itertools.permutations(names, 2) if _comparable(a, b)]


def _comparable(a: str, b: str) -> bool:
    (group, space), (other, elsewhere) = group_and_space(a), group_and_space(b)
    # video+audio and audio share a modality: the search would find the clip by its own audio.
    return space == elsewhere and not set(group.split("+")) & set(other.split("+"))


def directions_of(found: Mapping[str, Side], clips: int, mesh: Mesh | None = None) -> list[Direction]:
    """Return every direction between sides, for a corpus of `clips` clips."""
    result = []
    for source, target in directions(list(found)):
        # Clips [0, 1, 3] with video and [1, 2, 3] with text: only [1, 3] take part, and left_out counts the rest of the
        # corpus.
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
    """Return the metrics of every direction.

    Args:
      found: The directions.
      oracle: Scores of the best possible model, by names such as `text_to_video/r@1`.
      ks: Values of K.
      dual_softmax: Scale of the dual softmax. None leaves its rows out.

    Returns:
      `{query}_to_{gallery}/{name}` for every name of `Direction.metrics`, with `left_out`, the number of clips of the
      corpus that lack either modality, and with `oracle` (of R@1) and `oracle@K` where known.
    """
    metrics: dict[str, float | int] = {}
    for one in found:
        own = one.metrics(ks, dual_softmax) | _oracle(oracle or {}, group_and_space(one.name)[0], ks)
        metrics |= _row(one.name, own)
    return metrics


def _oracle(oracle: Mapping[str, float], direction: str, ks: Sequence[int]) -> dict[str, float | int]:
    """Return the oracle's recalls of one direction under the names of the metrics file."""
    known = {k: float(oracle[f"{direction}/r@{k}"]) for k in ks if f"{direction}/r@{k}" in oracle}
    named = {f"oracle@{k}": value for k, value in known.items()}
    return named | ({"oracle": known[1]} if 1 in known else {})
