"""Clips for the report, small enough for a page: queries with their results, and best and worst predictions."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation.embeddings import Embeddings
from mmvideo.evaluation.report.run_data import ClipGroup, ClipView, GalleryQuery, JudgedClip, Ranked
from mmvideo.evaluation.retrieval import exact_search, recall_at_k

DIRECTIONS: tuple[tuple[str, str], ...] = (("text", "video"), ("audio", "video"), ("video", "text"))
"""Preferred directions; a corpus with none of them shows its first direction."""


def gallery_queries(
    found: Embeddings,
    record: Callable[[int], Any],
    count: int = 4,
    best: int = 5,
    captions: Sequence[Sequence[str]] | None = None,
) -> list[GalleryQuery]:
    """Return `count` evenly spaced queries in each direction, with their `best` clips.

    Args:
      found: Embeddings of the clips.
      record: Function from a clip's index to its record with `id`, `media` and `captions`.
      count: Number of queries of a direction.
      best: Number of clips of a query; the right one is added if it is not among them.
      captions: Captions of each clip by its index. In directions with text, clips with equal first captions are right
        for each other, only one of them is a query, and one caption represents them. None: all captions differ.
    """
    possible = recall_at_k.directions(list(found.vectors))
    chosen = [pair for pair in DIRECTIONS if pair in possible] or possible[:1]

    @functools.cache
    def view(clip: int) -> ClipView:
        return clip_view(record(int(found.clip_index[clip])))

    return [
        query for source, target in chosen for query in _direction(found, source, target, count, best, view, captions)
    ]


def _direction(
    found: Embeddings,
    source: str,
    target: str,
    count: int,
    best: int,
    view: Callable[[int], ClipView],
    captions: Sequence[Sequence[str]] | None,
) -> list[GalleryQuery]:
    """Return the queries of one direction."""
    both = np.flatnonzero(found.present[source] & found.present[target])
    alike = captions is not None and "text" in (source, target)
    group = _same_caption([captions[number] for number in found.clip_index[both]]) if alike else np.arange(len(both))
    # group [0, 1, 0, 3] (clip 2 has the caption of clip 0): distinct is [0, 1, 3].
    distinct = np.flatnonzero(group == np.arange(len(both)))
    # The middles of `count` equal parts, so that no query is chosen for its result: 4 of 20 are 2, 7, 12 and 17.
    place = ((np.arange(count) + 0.5) * len(distinct) / count).astype(int)
    asked = distinct[np.unique(place)] if len(distinct) else distinct
    # One caption represents its equals as an entry; video entries stay one a clip, all of them right.
    searched = distinct if target == "text" else np.arange(len(both))
    query, gallery = found.vectors[source][both[asked]], found.vectors[target][both[searched]]
    entries, similarity = exact_search.most_similar(query, gallery, best)
    worst = recall_at_k.rank(query, gallery, group[asked], group[searched]).worst
    queries = []
    for row, own in enumerate(asked):
        right = group[searched] == group[own]
        ranked = [
            Ranked(view(int(both[searched[entry]])), rank, float(score), bool(right[entry]))
            for rank, (entry, score) in enumerate(zip(entries[row], similarity[row], strict=True), 1)
        ]
        nearest = np.flatnonzero(right)[np.argmax(gallery[right] @ query[row])]
        first = Ranked(view(int(both[searched[nearest]])), int(worst[row]), float(query[row] @ gallery[nearest]), True)
        ranked = _with_right(ranked, first)
        queries.append(GalleryQuery(source, target, view(int(both[own])), ranked, len(searched), int(right.sum())))
    return queries


def _same_caption(captions: Sequence[Sequence[str]]) -> Int[np.ndarray, "n"]:
    """Return, for each clip, the first one with an equal first caption, or itself without a caption."""
    seen: dict[str, int] = {}
    words = [" ".join(own[0].split()) if len(own) else None for own in captions]
    return np.array([clip if said is None else seen.setdefault(said, clip) for clip, said in enumerate(words)], int)


def _with_right(ranked: Sequence[Ranked], right: Ranked) -> list[Ranked]:
    """Return the ranking with the best right clip at its pessimistic rank, or at the end if it has a higher rank."""
    wrong = [one for one in ranked if not one.right]
    if right.rank > len(ranked):
        return [*_numbered(wrong[: len(ranked)]), right]
    # The search may list tied clips in another order than the pessimistic rank. Ranked [right, a, b] with the right
    # clip at rank 2: before is [a], rest is [b], and the result is [a, right, b].
    before = wrong[: right.rank - 1]
    rest = [one for one in ranked if one.clip is not right.clip and not any(one is own for own in before)]
    return _numbered([*before, right, *rest][: len(ranked)])


def _numbered(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Return the same clips with ranks from 1."""
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
    """Return the clips with the highest and the lowest scores; no clip is in both groups.

    Args:
      title: Name of what was predicted, such as the objective.
      number: Index of each clip.
      score: Score of each prediction; a clip with NaN takes no part.
      lines: Function from a position in these arrays to the lines under a clip.
      record: Function from a clip's index to its record with `id`, `media` and `captions`.
      unit: Unit of the score.
      right: True for each right prediction. None if predictions are not right or wrong.
      count: Number of clips of a group.
    """
    known = np.flatnonzero(~np.isnan(score))
    order = known[np.argsort(-score[known], kind="stable")]
    count = min(count, (len(order) + 1) // 2)

    def judged(place: int) -> JudgedClip:
        verdict = None if right is None else bool(right[place])
        return JudgedClip(clip_view(record(int(number[place]))), lines(place), float(score[place]), verdict)

    # 5 known clips, best first, count 2: best [0, 1]; worst from the end of the rest, [4, 3].
    ends = (("best", order[:count]), ("worst", order[count:][-count:][::-1]))
    return [
        ClipGroup(f"{title}, {end}", [judged(int(place)) for place in some], unit) for end, some in ends if len(some)
    ]


def clip_view(record: Any, seconds: float = 6.0, side: int = 128, fps: float = 12.0) -> ClipView:
    """Return a small version of a clip: its first seconds at a low rate and size, as an mp4 for browsers.

    A clip that can't be decoded has only its caption.
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
        # Browsers play H.264 only with halved colour resolution, which needs even sides.
        frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        encode(path, frames, fps, samples=clip.samples, sample_rate=clip.sample_rate, crf=26, audio_bitrate=48000)
        return ClipView(record.id, caption, path.read_bytes(), None if frames is None else frames[len(frames) // 2])
