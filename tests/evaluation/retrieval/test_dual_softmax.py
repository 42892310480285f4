"""Dual softmax in blocks against the dense formula, and its purpose."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.evaluation.retrieval.dual_softmax import dual_softmax_ranks, log_weights
from mmvideo.evaluation.retrieval.exact_search import TIE
from mmvideo.evaluation.retrieval.recall_at_k import rank


def _unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def _dense(query, gallery, query_group, gallery_group, scale):
    """The whole matrix times its softmax over the queries; ranks one after another."""
    similarity = query.astype(np.float64) @ gallery.astype(np.float64).T
    prior = np.exp(scale * similarity)
    score = similarity * (prior / prior.sum(axis=0, keepdims=True))
    ranks = []
    for row in range(len(query)):
        right = gallery_group == query_group[row]
        if not right.any():
            ranks.append((0, 0))
            continue
        bar = score[row][right].max()
        slack = TIE * (1 + scale) * abs(bar)
        wrong = score[row][~right]
        ranks.append((1 + (wrong >= bar - slack).sum(), 1 + (wrong > bar + slack).sum()))
    return np.array(ranks).T


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0])
@pytest.mark.parametrize("block", [(512, 2048), (1, 1), (13, 7)])
def test_ranks_are_those_of_the_dense_matrix(scale, block):
    draw = np.random.default_rng(0)
    query = _unit(draw.normal(size=(60, 6)))
    # Some entries twice, so that there are ties.
    gallery = _unit(query[draw.integers(0, 60, 80)] + 0.4 * draw.normal(size=(80, 6)))[draw.integers(0, 80, 90)]
    query_group, gallery_group = draw.integers(0, 50, 60), draw.integers(0, 50, 90)
    found = dual_softmax_ranks(query, gallery, query_group, gallery_group, scale, block=block)
    expected = _dense(query, gallery, query_group, gallery_group, scale)
    np.testing.assert_array_equal(found, expected)
    assert (expected[0] > expected[1]).any() and (expected == 0).any()


def test_an_entry_that_is_near_to_all_is_no_longer_everyones_answer():
    """A hub, the most similar entry of every query, which is most similar to its own."""
    similarity = np.array([[0.8, 0.1, 0.1, 0.1], [0.7, 0.6, 0.0, 0.0], [0.7, 0.0, 0.6, 0.0], [0.7, 0.0, 0.0, 0.6]])
    query, gallery, group = np.eye(4), similarity.T.copy(), np.arange(4)
    assert rank(query, gallery, group, group).worst.tolist() == [1, 2, 2, 2]
    worst, best = dual_softmax_ranks(query, gallery, group, group)
    assert worst.tolist() == best.tolist() == [1, 1, 1, 1]


def test_weights_are_log_sums_over_queries():
    draw = np.random.default_rng(0)
    query, gallery = _unit(draw.normal(size=(30, 5))), _unit(draw.normal(size=(20, 5)))
    expected = np.log(np.exp(50.0 * (query.astype(float) @ gallery.astype(float).T)).sum(axis=0))
    np.testing.assert_allclose(log_weights(query, gallery, 50.0, block=(4, 3)), expected, rtol=1e-12)
    spoilt = np.concatenate([query, np.full((1, 5), np.nan, np.float32)])
    np.testing.assert_allclose(log_weights(spoilt, gallery, 50.0, block=(4, 3)), expected, rtol=1e-12)


def test_what_is_not_a_number_never_helps():
    draw = np.random.default_rng(0)
    query = _unit(draw.normal(size=(12, 5)))
    gallery, asked = query.copy(), query.copy()
    gallery[2], asked[7] = np.nan, np.nan
    group = np.arange(12)
    worst, best = dual_softmax_ranks(asked, gallery, group, group)
    assert worst[2] == best[2] == worst[7] == best[7] == 12
    assert (np.delete(worst, [2, 7]) == 2).all(), "the broken entry stands before every other query's own"
