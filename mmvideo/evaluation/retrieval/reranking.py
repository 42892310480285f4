"""Re-ranking of the best candidates of a dual encoder by a head that sees text and media together.

ALBEF (Li et al. 2021, section 5) and after it VAST rank the top k of the contrastive similarities by the score of the
matching head alone; all other entries keep their rank.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int

from mmvideo.datasets.re_paired import RePairedClips
from mmvideo.evaluation.inference import to_host
from mmvideo.evaluation.retrieval.recall_at_k import Direction
from mmvideo.evaluation.retrieval.texts import same_pass
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.input.pipeline import Batches
from mmvideo.objectives import AnyObjective, Matching
from mmvideo.objectives.components.modality_groups import group_name
from mmvideo.stream import PADDING, TokenStream

TIE = 1e-5
"""Difference below which log-odds are tied: the same pair may differ by this much in another row of a batch."""

PROTOCOL = (
    "reranked/: the {k} best candidates of each query in the order of the matching head's log-odds alone, ties within "
    f"{TIE:g} against the model; the others keep their ranks; directions: " + "{directions}"
)


def matching_of(objectives: Mapping[str, AnyObjective]) -> tuple[str, Matching]:
    """Return the first matching objective of a run, and its name.

    Raises:
      ValueError: The run has none.
    """
    for name, objective in objectives.items():
        if isinstance(objective, Matching):
            return name, objective
    raise ValueError(
        "evaluation.rerank needs a matching head, but the run has none: add a matching objective, or set rerank to 0"
    )


def is_matched(direction: Direction, matching: Matching) -> bool:
    """Return True if a direction is between the sides that the matching head compares: text and its media."""
    return {direction.source, direction.target} == {"text", group_name(matching.media)}


def shortlist(direction: Direction, k: int) -> Int[np.ndarray, "n k2"]:
    """Return the candidates of each query that are scored again; every process gets those of the first."""
    entries, _ = direction.most_similar(k)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        entries = np.asarray(multihost_utils.broadcast_one_to_all(entries.astype(np.int32)), np.int64)
    return entries


def match_logits(
    subject: EvaluatedModel,
    batches: Batches,
    number: Int[np.ndarray, "c"],
    directions: Sequence[tuple[Direction, Int[np.ndarray, "_ _"]]],
    modalities: Sequence[str] | None = None,
) -> list[Float[np.ndarray, "_ _"]]:
    """Return the log-odds that the candidates of each query match it, for every direction.

    A pair of clip and text that occurs more than once is scored once.

    Args:
      subject: Model with a matching head.
      batches: The clips.
      number: Index in `batches` of each clip of the directions, which count clips from 0.
      directions: Directions with their shortlists.
      modalities: Modalities of a clip that the model sees.
    """
    place: dict[tuple[int, str], int] = {}
    wanted = []
    for direction, entries in directions:
        pairs = _pairs(direction, entries)
        # Every new pair gets the next index: candidates (c0, a), (c1, a), (c0, a) are [0, 1, 0], so that 2 pairs are
        # scored.
        wanted.append(np.array([place.setdefault(pair, len(place)) for pair in pairs], np.int64).reshape(entries.shape))
    if not place:
        return [np.zeros(entries.shape) for entries in wanted]
    # Pairs of one clip are neighbours, so that its record is read from a warm cache.
    order = sorted(place, key=lambda pair: pair[0])
    found = pair_logits(
        subject, batches, number[[clip for clip, _ in order]], [words for _, words in order], modalities
    )
    odds = np.empty(len(place))
    odds[[place[pair] for pair in order]] = found
    return [odds[entries] for entries in wanted]


def _pairs(direction: Direction, entries: Int[np.ndarray, "n k"]) -> list[tuple[int, str]]:
    """Return clip and text of each candidate of each query, query by query."""
    query = np.repeat(np.arange(len(entries)), entries.shape[1])
    asked, found = (direction.query, query), (direction.gallery, entries.ravel())
    # Either the queries are text and the entries media, or the other way round.
    (texts, text), (media, clip) = (asked, found) if direction.source == "text" else (found, asked)
    return list(zip(media.clip[clip].tolist(), texts.words[text].tolist(), strict=True))


def pair_logits(
    subject: EvaluatedModel,
    batches: Batches,
    clips: Int[np.ndarray, "p"],
    words: Sequence[str],
    modalities: Sequence[str] | None = None,
) -> Float[np.ndarray, "p"]:
    """Return the matching head's log-odds that each text belongs to the media of its clip.

    Each pair is a clip with that text as its caption, and runs through the whole model. The result is NaN if the clip
    could not be read, or lacks a modality that the head compares.

    Args:
      subject: Model with a matching head.
      batches: One pass over the clips; the pairs are read with its settings.
      clips: Index of the clip of each pair.
      words: Text of each pair.
      modalities: Modalities of a clip that the model sees. None is all that it has.
    """
    name, _ = matching_of(subject.learner.objectives)
    paired = same_pass(batches, RePairedClips(batches.corpus.corpora, clips, words), modalities)
    graph, state = nnx.split(subject.learner)
    odds = np.full(len(clips), np.nan)
    for _, stream in paired.iterate(0, paired.steps_per_epoch):
        number, known, found = to_host(_odds(graph, name, state, subject.placed(stream)))
        real = known & (number != PADDING)
        # The clip index of a re-paired stream is the index of the pair; padding and unreadable clips keep NaN.
        odds[number[real]] = found[real]
    return odds


@functools.partial(jax.jit, static_argnums=(0, 1))
def _odds(graph: nnx.GraphDef, name: str, state: Any, stream: TokenStream) -> tuple[Any, Any, Any]:
    """Return the index of each clip of a batch, a mask of the valid pairs, and the log-odds of a match."""
    learner = nnx.merge(graph, state)
    learner.eval()
    answer = learner.predict(stream)[name]
    return stream.clips.clip_index, answer["known"], answer["odds"]


def reranked(
    direction: Direction, entries: Int[np.ndarray, "n k"], odds: Float[np.ndarray, "n k"]
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Return the ranks of the best positive after the shortlist was sorted by its log-odds.

    The ranks are pessimistic and optimistic. In the pessimistic ranking a positive counts as shortlisted only if its
    pessimistic rank is `k` or better; otherwise it keeps its rank. A candidate without log-odds is before every
    positive, and a positive without them is after every candidate.
    """
    right = direction.gallery.clip[entries] == direction.query.clip[:, None]
    # Best log-odds of a right candidate; fmax ignores NaN. A NaN bar makes both comparisons below False, so that all
    # wrong candidates rank before the positive.
    bar = np.fmax.reduce(np.where(right, odds, np.nan), axis=1, initial=np.nan)[:, None]
    worst = 1 + (~right & ~(odds < bar - TIE)).sum(axis=1)
    best = 1 + (~right & ~(odds <= bar + TIE)).sum(axis=1)
    listed: Bool[np.ndarray, "n"] = right.any(axis=1)
    ranking = direction.ranking
    # A pessimistic rank above k means that ties could have pushed the positive off the shortlist: it keeps that rank.
    worst = np.where(listed & (ranking.worst <= entries.shape[1]), worst, ranking.worst)
    return worst, np.where(listed, np.minimum(best, worst), ranking.best)
