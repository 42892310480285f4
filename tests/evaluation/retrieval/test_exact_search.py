"""Blocked search against the whole matrix in float64, with ties, near ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.evaluation.retrieval import exact_search
from mmvideo.evaluation.retrieval.exact_search import (
    TIE,
    count_higher_ranked_negatives,
    group_ranks,
    most_similar,
)
from mmvideo.evaluation.retrieval.positive_pairs import positive_pairs


def _unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def _whole(query, gallery, query_group, gallery_group):
    """Counts of each right pair, most similar first, out of the full matrix, one pair after another."""
    similarity = query.astype(np.float64) @ gallery.astype(np.float64).T
    found = []
    for row, values in enumerate(similarity):
        right = np.flatnonzero(gallery_group == query_group[row])
        wrong = values[gallery_group != query_group[row]]
        for bar in sorted(values[right], reverse=True):
            found.append((row, (wrong >= bar - TIE).sum(), (wrong > bar + TIE).sum()))
    return np.array(found)


def _case(name: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    if name == "spread":
        vectors = _unit(draw.normal(size=(300, 24)))
        return vectors, _unit(vectors + 0.3 * draw.normal(size=(300, 24)))
    if name == "near ties":
        # Differences of the order of the float32 error and of the tie: only float64 tells them apart.
        same = np.ones(24) + 2e-3 * draw.normal(size=(300, 24))
        return _unit(np.ones(24) + 2e-3 * draw.normal(size=(300, 24))), _unit(same)
    # Quarters, whose products and sums are exact.
    vectors = (draw.integers(-1, 2, (40, 24)) / 4).astype(np.float32)
    return vectors[draw.integers(0, 40, 300)], vectors[draw.integers(0, 40, 300)]


@pytest.mark.parametrize("name", ["spread", "near ties", "equal"])
@pytest.mark.parametrize("block", [(512, 2048), (1, 150), (150, 4), (17, 33)])
def test_counts_are_those_of_the_whole_matrix(name, block):
    query, gallery = _case(name)
    draw = np.random.default_rng(1)
    query_group, gallery_group = draw.integers(0, 150, 300), draw.integers(0, 150, 300)
    right = positive_pairs(query, gallery, query_group, gallery_group)
    worse, better = count_higher_ranked_negatives(query, gallery, right, block=block)
    expected = _whole(query, gallery, query_group, gallery_group)
    np.testing.assert_array_equal(right.query, expected[:, 0])
    np.testing.assert_array_equal(worse, expected[:, 1])
    np.testing.assert_array_equal(better, expected[:, 2])
    if name != "spread":
        assert (worse > better).any(), "the case was meant to have ties"


def test_float32_alone_would_count_wrongly():
    """The near ties of the test above need float64: the case can fail."""
    query, gallery = _case("near ties")
    exact = query.astype(np.float64) @ gallery.astype(np.float64).T
    quick = (query @ gallery.T).astype(np.float64)
    bar = np.diag(exact)[:, None]
    assert ((exact >= bar - TIE) != (quick >= bar - TIE)).any()


@pytest.mark.parametrize("few", [1, 10**9])
def test_pairs_one_by_one_and_whole_blocks_agree(few, monkeypatch):
    query, gallery = _case("near ties")
    right = positive_pairs(query, gallery, np.arange(300), np.arange(300))
    usual = count_higher_ranked_negatives(query, gallery, right)
    monkeypatch.setattr(exact_search, "_FEW", few)
    for expected, found in zip(usual, count_higher_ranked_negatives(query, gallery, right), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_vectors_of_any_length_and_of_float64():
    """The bound of the error grows with the vectors; float64 ones are first rounded."""
    draw = np.random.default_rng(0)
    query, gallery = 1e3 * (1 + 1e-6 * draw.normal(size=(80, 16))), 1e-4 * (1 + 1e-6 * draw.normal(size=(90, 16)))
    group = np.arange(90)
    right = positive_pairs(query, gallery, group[:80], group)
    expected = _whole(query, gallery, group[:80], group)
    for column, found in enumerate(count_higher_ranked_negatives(query, gallery, right, block=(32, 32)), 1):
        np.testing.assert_array_equal(found, expected[:, column])
    assert len(np.unique(expected[:, 1])) > 3


def test_what_is_not_a_number_stands_before_everything():
    query, gallery = _case("spread")
    broken = gallery.copy()
    broken[[3, 50]] = np.nan
    group = np.arange(300)
    usual = count_higher_ranked_negatives(query, gallery, positive_pairs(query, gallery, group, group))
    spoilt = count_higher_ranked_negatives(query, broken, positive_pairs(query, broken, group, group), block=(64, 16))
    for before, after in zip(usual, spoilt, strict=True):
        assert (after[[3, 50]] == 299).all()
        others = np.setdiff1d(group, [3, 50])
        # The two now stand before all others, wherever they stood.
        stood = (query[others] @ gallery[[3, 50]].T > np.einsum("nd,nd->n", query, gallery)[others, None]).sum(axis=1)
        np.testing.assert_array_equal(after[others], before[others] + 2 - stood)


@pytest.mark.parametrize("name", ["spread", "near ties", "equal"])
@pytest.mark.parametrize(("k", "block"), [(1, 4096), (5, 50), (40, 7), (500, 64)])
def test_the_most_similar_are_those_of_the_whole_matrix(name, k, block):
    query, gallery = _case(name)
    entries, similarity = most_similar(query[:60], gallery, k, block=block)
    exact = query[:60].astype(np.float64) @ gallery.T.astype(np.float64)
    np.testing.assert_allclose(similarity, -np.sort(-exact, axis=1)[:, :k], atol=1e-13)
    np.testing.assert_allclose(np.take_along_axis(exact, entries, axis=1), similarity, atol=1e-13)
    assert all(len(set(row)) == len(row) == min(k, 300) for row in entries)
    if name == "equal":
        whole = np.argsort(-exact, axis=1, kind="stable")
        np.testing.assert_array_equal(entries, whole[:, :k], err_msg="equal ones keep the order of the gallery")


def test_most_similar_orders_the_gallery():
    gallery = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8], [0.0, 1.0]], np.float32)
    entries, similarity = most_similar(np.array([[0.0, 1.0]], np.float32), gallery, 3)
    assert entries.tolist() == [[3, 1, 2]], "equal similarities keep the order of the gallery"
    np.testing.assert_allclose(similarity, [[1.0, 0.8, 0.8]], rtol=1e-6)
    assert most_similar(gallery, gallery, 9)[0].shape == (4, 4)
    assert most_similar(gallery[:0], gallery, 2)[0].shape == (0, 2)
    assert most_similar(gallery, gallery[:0], 2)[0].shape == (4, 0)


def test_what_is_not_a_number_is_the_least_similar():
    query, gallery = _case("spread")
    gallery = gallery[:40].copy()
    gallery[[0, 7]] = np.nan
    for k, block in ((3, 8), (40, 4), (39, 1000)):
        entries, similarity = most_similar(query[:5], gallery, k, block=block)
        assert all(len(set(row)) == k for row in entries)
        if k == 40:
            assert entries[:, 38:].tolist() == [[0, 7]] * 5 and np.isnan(similarity[:, 38:]).all()
        assert np.isfinite(similarity[:, : min(k, 38)]).all()


@pytest.mark.parametrize("block", [(512, 2048), (1, 1), (7, 5)])
@pytest.mark.parametrize("name", ["spread", "equal"])
def test_groups_rank_by_their_best_entry(name, block):
    query, gallery = _case(name)
    draw = np.random.default_rng(2)
    query_group, gallery_group = draw.integers(0, 60, 80), draw.integers(0, 50, 300)
    worst, best = group_ranks(query[:80], gallery, query_group, gallery_group, block=block)
    exact = query[:80].astype(np.float64) @ gallery.astype(np.float64).T
    for row in range(80):
        top = {g: max(exact[row][gallery_group == g]) for g in set(gallery_group.tolist())}
        own = top.pop(int(query_group[row]), None)
        expected = [0, 0]
        if own is not None:
            expected = [1 + sum(v >= own - TIE for v in top.values()), 1 + sum(v > own + TIE for v in top.values())]
        assert [worst[row], best[row]] == expected
