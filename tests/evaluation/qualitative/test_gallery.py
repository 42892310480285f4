"""Clips chosen for how well they were answered."""

from __future__ import annotations

import numpy as np

from mmvideo.evaluation.qualitative.gallery import best_and_worst


def _groups(batches, score: list[float], count: int):
    number = np.arange(len(score))
    right = np.asarray(score) > 0.5
    return best_and_worst(
        "move", number, np.asarray(score), lambda place: [f"clip {place}"], batches.corpus.record,
        unit="p", right=right, count=count,
    )  # fmt: skip


def test_the_best_and_the_worst_are_told_apart(batches):
    best, worst = _groups(batches, [0.4, 0.9, np.nan, 0.1, 0.8, 0.6], count=2)
    assert (best.title, worst.title) == ("move, best", "move, worst")
    assert [one.score for one in best.clips] == [0.9, 0.8] and [one.score for one in worst.clips] == [0.1, 0.4]
    assert [one.lines for one in worst.clips] == [["clip 3"], ["clip 0"]]
    assert [one.right for one in best.clips + worst.clips] == [True, True, False, False]
    assert best.clips[0].clip.id == batches.clip_id(1) and best.clips[0].clip.media
    assert best.score == "p"


def test_no_clip_is_shown_twice(batches):
    best, worst = _groups(batches, [0.9, 0.2, 0.3], count=4)
    assert [one.score for one in best.clips] == [0.9, 0.3] and [one.score for one in worst.clips] == [0.2]
    (only,) = _groups(batches, [0.9, np.nan], count=4)
    assert only.title == "move, best" and len(only.clips) == 1
    assert _groups(batches, [np.nan], count=4) == []
