"""Re-ranking: the best candidates of a dual encoder, judged again by a head that sees text and media together.

ALBEF (Li et al. 2021, section 5) and after it VAST rank the top k of the contrastive similarities by the
matching head's score alone; what is not among them keeps its place.
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
"""Log-odds closer than this are tied: the same pair scores so differently in another row."""

PROTOCOL = (
    "reranked/: the {k} best candidates of each query in the order of the matching head's log-odds alone, ties within "
    f"{TIE:g} against the model; the others keep their places; judged: " + "{directions}"
)


def matching_of(objectives: Mapping[str, AnyObjective]) -> tuple[str, Matching]:
    """The first matching objective of a run, and its name.

    Raises:
      ValueError: it has none.
    """
    for name, objective in objectives.items():
        if isinstance(objective, Matching):
            return name, objective
    raise ValueError(
        "evaluation.rerank asks a matching head, and the run has none: add a matching objective, or set rerank to 0"
    )


def is_matched(direction: Direction, matching: Matching) -> bool:
    """Whether a direction is between what the matching head compares: text, and its media."""
    return {direction.source, direction.target} == {"text", group_name(matching.media)}


def shortlist(direction: Direction, k: int) -> Int[np.ndarray, "n k2"]:
    """The entries that are judged again of each query, on every process those of the first."""
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
    """The log-odds that the candidates of each query match it, for every direction.

    Pairs of the same clip and text are judged once.

    Args:
      subject: has a matching head.
      batches: the clips.
      number: number in `batches` of the clips that the directions count from 0.
      directions: each with its shortlist.
      modalities: all that is shown of a clip.
    """
    place: dict[tuple[int, str], int] = {}
    wanted = []
    for direction, entries in directions:
        pairs = _pairs(direction, entries)
        wanted.append(np.array([place.setdefault(pair, len(place)) for pair in pairs], np.int64).reshape(entries.shape))
    if not place:
        return [np.zeros(entries.shape) for entries in wanted]
    # Pairs of one clip stand together, so that its record is read from a warm cache.
    order = sorted(place, key=lambda pair: pair[0])
    found = pair_logits(
        subject, batches, number[[clip for clip, _ in order]], [words for _, words in order], modalities
    )
    odds = np.empty(len(place))
    odds[[place[pair] for pair in order]] = found
    return [odds[entries] for entries in wanted]


def _pairs(direction: Direction, entries: Int[np.ndarray, "n k"]) -> list[tuple[int, str]]:
    """Clip and text of each candidate of each query, query by query."""
    query = np.repeat(np.arange(len(entries)), entries.shape[1])
    asked, found = (direction.query, query), (direction.gallery, entries.ravel())
    (texts, text), (media, clip) = (asked, found) if direction.source == "text" else (found, asked)
    return list(zip(media.clip[clip].tolist(), texts.words[text].tolist(), strict=True))


def pair_logits(
    subject: EvaluatedModel,
    batches: Batches,
    clips: Int[np.ndarray, "p"],
    words: Sequence[str],
    modalities: Sequence[str] | None = None,
) -> Float[np.ndarray, "p"]:
    """The matching head's log-odds that each text belongs to the media of the clip beside it.

    Each pair is a clip with that text as its caption, and goes through the whole model. NaN where the clip could
    not be read, or lacks what the head compares.

    Args:
      subject: has a matching head.
      batches: one pass over the clips; pairs are read as these are.
      clips: numbers of clips.
      words: the texts.
      modalities: all that is shown of a clip; None shows what it has.
    """
    name, _ = matching_of(subject.learner.objectives)
    paired = same_pass(batches, RePairedClips(batches.corpus.corpora, clips, words), modalities)
    graph, state = nnx.split(subject.learner)
    odds = np.full(len(clips), np.nan)
    for _, stream in paired.iterate(0, paired.steps_per_epoch):
        number, known, found = to_host(_odds(graph, name, state, subject.placed(stream)))
        real = known & (number != PADDING)
        odds[number[real]] = found[real]
    return odds


@functools.partial(jax.jit, static_argnums=(0, 1))
def _odds(graph: nnx.GraphDef, name: str, state: Any, stream: TokenStream) -> tuple[Any, Any, Any]:
    """Number of each clip of a batch, whether it is a pair, and the log-odds that it matches."""
    learner = nnx.merge(graph, state)
    learner.eval()
    answer = learner.predict(stream)[name]
    return stream.clips.clip_index, answer["known"], answer["odds"]


def reranked(
    direction: Direction, entries: Int[np.ndarray, "n k"], odds: Float[np.ndarray, "n k"]
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Ranks of the best positive after the shortlist was put into the order of its log-odds.

    Pessimistic and optimistic. A positive counts as shortlisted against the model only where its
    pessimistic rank is `k` or better; one that is not keeps its rank. A candidate without log-odds stands
    before every positive, and a positive without them behind every candidate.
    """
    right = direction.gallery.clip[entries] == direction.query.clip[:, None]
    bar = np.fmax.reduce(np.where(right, odds, np.nan), axis=1, initial=np.nan)[:, None]
    worst = 1 + (~right & ~(odds < bar - TIE)).sum(axis=1)
    best = 1 + (~right & ~(odds <= bar + TIE)).sum(axis=1)
    listed: Bool[np.ndarray, "n"] = right.any(axis=1)
    ranking = direction.ranking
    worst = np.where(listed & (ranking.worst <= entries.shape[1]), worst, ranking.worst)
    return worst, np.where(listed, np.minimum(best, worst), ranking.best)
