"""Moments of a long video from the answers of its views, against slow loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.evaluation.metrics.moments import interval_iou
from mmvideo.evaluation.tasks.moment_decoding import moments_of, saliency_of, suppress


def _slow_overlap(a, b) -> float:
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    either = (a[1] - a[0]) + (b[1] - b[0]) - both
    return both / either if either else 0.0


def _slow_suppress(windows, scores, limit):
    """A window is kept if it shares little with every kept one that is better."""
    kept = []
    for number in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
        if all(_slow_overlap(windows[number], windows[other]) <= limit for other in kept):
            kept.append(number)
    return kept


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.7, 1.0])
def test_suppression_equals_a_slow_loop(limit):
    draw = np.random.default_rng(int(10 * limit))
    # Whole seconds and tenths, so that windows and scores are often equal.
    windows = np.sort(draw.integers(0, 20, (80, 2)), axis=1).astype(float)
    scores = np.round(draw.uniform(size=80), 1)
    found = suppress(windows, scores, limit)
    assert found.tolist() == _slow_suppress(windows, scores, limit)
    assert 0 < len(found) < 80 or limit == 1.0
    np.testing.assert_allclose(
        interval_iou(windows[:1], windows)[0], [_slow_overlap(windows[0], other) for other in windows]
    )


def test_views_compete_on_the_clock_of_the_video():
    """Two views of ten seconds, five apart, answer one moment at 6 to 9; the second knows another."""
    windows = np.array([[[6.0, 9.0], [0.0, 2.0], [5.9, 9.2]], [[1.0, 4.0], [7.0, 9.5], [3.0, 3.0]]])
    scores = np.array([[0.7, 0.1, 0.6], [0.9, 0.5, 1.0]])
    steps = np.array([[True, False, True], [True, True, True]])
    start = np.array([0.0, 5.0])
    assert moments_of(windows, scores, steps, start) == [(6.0, 9.0, 0.9), (12.0, 14.5, 0.5)]
    assert moments_of(windows, scores, steps, start, most=1) == [(6.0, 9.0, 0.9)]
    every = [(6.0, 9.0, 0.9), (6.0, 9.0, 0.7), (5.9, 9.2, 0.6), (12.0, 14.5, 0.5)]
    assert moments_of(windows, scores, steps, start, iou=1.0) == every
    assert moments_of(windows, scores, np.zeros_like(steps), start) == []


def test_saliency_of_even_stretches():
    saliency = np.array([[0.2, 0.4, 0.9], [0.6, 1.0, 0.3]])
    time = np.array([[0.5, 1.5, 2.5], [0.5, 1.5, 2.5]])
    steps = np.array([[True, True, True], [True, False, True]])
    found = saliency_of(saliency, time, steps, np.array([0.0, 2.0]), every=2.0, count=4)
    # 0.5 and 1.5 are in the first; 2.5 of both views in the second; 4.5 in the third; none in the last.
    np.testing.assert_allclose(found, [0.3, 0.75, 0.3, np.nan])
