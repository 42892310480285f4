"""Clips for the report, small enough for a page: queries with what a model finds, and its best and worst answers."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation import retrieval, search
from mmvideo.evaluation.embed import Embeddings
from mmvideo.evaluation.report_data import ClipGroup, ClipView, GalleryQuery, JudgedClip, Ranked

DIRECTIONS: tuple[tuple[str, str], ...] = (("text", "video"), ("audio", "video"), ("video", "text"))
"""Directions shown by choice; a corpus that has none of them shows the first that it has."""


def gallery_queries(
    found: Embeddings, record: Callable[[int], Any], count: int = 4, best: int = 5
) -> list[GalleryQuery]:
    """`count` queries in each direction, taken evenly from the clips, with their `best` clips.

    Args:
      found: embeddings of the clips.
      record: a clip's record by its number: `id`, `media`, `captions`.
      count: queries a direction.
      best: clips a query; the right one is added where it is not among them.
    """
    possible = retrieval.directions(list(found.vectors))
    chosen = [pair for pair in DIRECTIONS if pair in possible] or possible[:1]

    @functools.cache
    def view(clip: int) -> ClipView:
        return clip_view(record(int(found.number[clip])))

    return [query for source, target in chosen for query in _direction(found, source, target, count, best, view)]


def _direction(
    found: Embeddings, source: str, target: str, count: int, best: int, view: Callable[[int], ClipView]
) -> list[GalleryQuery]:
    """The queries of one direction."""
    both = np.flatnonzero(found.present[source] & found.present[target])
    gallery = found.vectors[target][both]
    # The middles of `count` equal stretches, so that no query is chosen for its result.
    asked = np.unique(((np.arange(count) + 0.5) * len(both) / count).astype(int)) if len(both) else both
    query = found.vectors[source][both[asked]]
    entries, similarity = search.most_similar(query, gallery, best)
    worst = retrieval.rank(query, gallery, both[asked], both).worst
    queries = []
    for row, own in enumerate(asked):
        ranked = [
            Ranked(view(int(both[entry])), place, float(score), bool(entry == own))
            for place, (entry, score) in enumerate(zip(entries[row], similarity[row], strict=True), 1)
        ]
        ranked = _with_right(ranked, view(int(both[own])), int(worst[row]), float(query[row] @ gallery[own]))
        queries.append(GalleryQuery(source, target, view(int(both[own])), ranked, len(both)))
    return queries


def _with_right(ranked: Sequence[Ranked], right: ClipView, rank: int, similarity: float) -> list[Ranked]:
    """The ranking with the right clip at its pessimistic rank, at the end if that is past the others."""
    wrong = [one for one in ranked if not one.right]
    if rank > len(ranked):
        kept = wrong[: len(ranked)]
        return [*_numbered(kept), Ranked(right, rank, similarity, True)]
    kept = wrong[: len(ranked) - 1]
    return _numbered([*kept[: rank - 1], Ranked(right, rank, similarity, True), *kept[rank - 1 :]])


def _numbered(ranked: Sequence[Ranked]) -> list[Ranked]:
    """The same clips with ranks from 1."""
    return [Ranked(one.clip, rank, one.similarity, one.right) for rank, one in enumerate(ranked, 1)]


def best_and_worst(
    title: str,
    number: Int[np.ndarray, "n"],
    score: Float[np.ndarray, "n"],
    lines: Callable[[int], Sequence[str]],
    record: Callable[[int], Any],
    *,
    unit: str = "",
    right: Bool[np.ndarray, "n"] | None = None,
    count: int = 4,
) -> list[ClipGroup]:
    """The clips of the highest and of the lowest score; no clip is in both groups.

    Args:
      title: what was answered, such as the objective.
      number: the clips' numbers.
      score: how good each answer is; a clip of NaN takes no part.
      lines: what is written under a clip, by its place in these arrays.
      record: a clip's record by its number: `id`, `media`, `captions`.
      unit: what the score is.
      right: whether each answer is right; None where that is no question.
      count: clips a group.
    """
    known = np.flatnonzero(~np.isnan(score))
    order = known[np.argsort(-score[known], kind="stable")]
    count = min(count, (len(order) + 1) // 2)

    def judged(place: int) -> JudgedClip:
        verdict = None if right is None else bool(right[place])
        return JudgedClip(clip_view(record(int(number[place]))), lines(place), float(score[place]), verdict)

    ends = (("best", order[:count]), ("worst", order[count:][-count:][::-1]))
    return [
        ClipGroup(f"{title}, {end}", [judged(int(place)) for place in some], unit) for end, some in ends if len(some)
    ]


def clip_view(record: Any, seconds: float = 6.0, side: int = 128, fps: float = 12.0) -> ClipView:
    """A clip made small: its first seconds at a low rate and size, as an mp4 that browsers play.

    A clip that can't be decoded is shown by its words alone.
    """
    from mmvideo.media.decode import decode
    from mmvideo.media.encode import encode

    caption = record.captions[0] if len(record.captions) else ""
    try:
        clip = decode(record.media, end=seconds, fps=fps, short_side=side, **record.pictures)
    except ValueError:
        return ClipView(record.id, caption)
    frames = clip.frames
    if frames is not None:
        # Browsers play H.264 with halved colour resolution only, which needs even sides.
        frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        encode(path, frames, fps, samples=clip.samples, sample_rate=clip.sample_rate, crf=26, audio_bitrate=48000)
        return ClipView(record.id, caption, path.read_bytes(), None if frames is None else frames[len(frames) // 2])
