"""Ranks, recalls and chance against slow and brute-force references."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mmvideo.evaluation.metrics.chance import binomial_tail, chance_of_hit, mean_rank_p_value
from mmvideo.evaluation.retrieval.dual_softmax import dual_softmax_ranks
from mmvideo.evaluation.retrieval.exact_search import TIE
from mmvideo.evaluation.retrieval.recall_at_k import (
    Side,
    directions,
    directions_of,
    rank,
    retrieval,
    retrieval_metrics,
    sides,
)


def _unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def _ranks(*compared, **block) -> tuple[np.ndarray, np.ndarray]:
    found = rank(*compared, **block)
    return found.worst, found.best


def _metrics(*compared) -> dict[str, float | int]:
    return retrieval_metrics(rank(*compared))


def _retrieval(vectors, present, oracle=None) -> dict[str, float | int]:
    clips = len(next(iter(present.values())))
    return retrieval(directions_of(sides(vectors, present), clips), oracle)


def _slow_rank(query: np.ndarray, gallery: np.ndarray, right: list[bool], pessimistic: bool) -> int:
    """A loop over one query: count the wrong entries that stand before the best right one."""
    similarity = [float(np.dot(query.astype(np.float64), entry.astype(np.float64))) for entry in gallery]
    if not any(right):
        return 0
    best = max(s for s, r in zip(similarity, right, strict=True) if r)
    bar = best - TIE if pessimistic else best + TIE
    before = [s >= bar if pessimistic else s > bar for s, r in zip(similarity, right, strict=True) if not r]
    return 1 + sum(before)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_agree_with_a_slow_loop_with_ties_and_several_positives(seed):
    draw = np.random.default_rng(seed)
    # Few distinct directions, so that many similarities are equal; few groups, so that many are right.
    query = _unit(draw.integers(-1, 2, (40, 3)) + np.array([0.5, 0.25, 0.125]))
    gallery = _unit(draw.integers(-1, 2, (60, 3)) + np.array([0.5, 0.25, 0.125]))
    query_group, gallery_group = draw.integers(0, 30, 40), draw.integers(0, 30, 60)
    worst, best = _ranks(query, gallery, query_group, gallery_group)
    for row in range(40):
        right = list(gallery_group == query_group[row])
        assert worst[row] == _slow_rank(query[row], gallery, right, pessimistic=True)
        assert best[row] == _slow_rank(query[row], gallery, right, pessimistic=False)
    assert (worst >= best).all()
    assert (worst > best).any(), "the case was meant to have ties"
    assert (worst == 0).any(), "the case was meant to have queries without a positive"


def test_blocks_change_nothing():
    draw = np.random.default_rng(0)
    vectors = _unit(draw.normal(size=(300, 16)))[draw.integers(0, 120, 300)]
    other = _unit(vectors + 0.5 * draw.normal(size=vectors.shape))
    group = draw.integers(0, 200, 300)
    whole = _ranks(vectors, other, group, group, block=(1000, 1000))
    for block in [(1, 300), (300, 3), (7, 13), (64, 300)]:
        for expected, found in zip(whole, _ranks(vectors, other, group, group, block=block), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_collapsed_model_scores_nothing():
    same = _unit(np.ones((20, 4)))
    metrics = _metrics(same, same, np.arange(20), np.arange(20))
    assert metrics["r@1"] == metrics["r@5"] == metrics["r@10"] == 0.0
    assert metrics["median_rank"] == 20
    assert metrics["r@1_optimistic"] == 1.0
    assert metrics["r@1_expected"] == pytest.approx(metrics["chance"])
    assert metrics["r@5_expected"] == pytest.approx(metrics["chance@5"])


def test_expected_recall_is_the_mean_over_ways_to_break_ties():
    """Broken by a tiny random nudge, many times over, ties give the expected recall."""
    draw = np.random.default_rng(0)
    captions = draw.integers(0, 12, 30)
    query, gallery = _unit(np.eye(12)[captions] + 0.2 * draw.normal(size=(30, 12))), _unit(np.eye(12)[captions])
    expected = _metrics(query, gallery, np.arange(30), np.arange(30))
    similarity = query.astype(float) @ gallery.T.astype(float)
    hits = {1: [], 5: []}
    for _ in range(3000):
        nudged = similarity + 1e-4 * draw.random((30, 30))
        rank = 1 + (nudged > np.diag(nudged)[:, None]).sum(axis=1)
        for k, found in hits.items():
            found.append((rank <= k).mean())
    assert expected["r@1"] < expected["r@1_expected"] < expected["r@1_optimistic"]
    for k, found in hits.items():
        assert expected[f"r@{k}_expected"] == pytest.approx(np.mean(found), abs=0.01)


def test_values_that_are_not_numbers_never_help():
    vectors = _unit(np.eye(6))
    broken = vectors.copy()
    broken[2] = np.nan
    worst, best = _ranks(vectors, broken, np.arange(6), np.arange(6))
    assert worst[2] == best[2] == 6
    assert (np.delete(worst, 2) == 2).all(), "the broken entry stands before every other query's own"
    metrics = _metrics(vectors, np.full_like(vectors, np.nan), np.arange(6), np.arange(6))
    assert metrics["r@5"] == 0.0


def test_a_perfect_model():
    vectors = _unit(np.random.default_rng(0).normal(size=(50, 32)))
    metrics = _metrics(vectors, vectors, np.arange(50), np.arange(50))
    assert metrics["r@1"] == metrics["r@1_optimistic"] == 1.0
    assert metrics["median_rank"] == metrics["mean_rank"] == 1.0
    assert metrics["chance"] == pytest.approx(1 / 50)
    assert metrics["chance@10"] == pytest.approx(0.2)
    assert metrics["r@1_p_value"] == pytest.approx(50.0**-50)


def test_random_embeddings_score_chance():
    draw = np.random.default_rng(1)
    query, gallery = _unit(draw.normal(size=(2000, 64))), _unit(draw.normal(size=(2000, 64)))
    metrics = _metrics(query, gallery, np.arange(2000), np.arange(2000))
    assert metrics["mean_rank"] == pytest.approx(1000.5, rel=0.05)
    assert metrics["r@10"] == pytest.approx(metrics["chance@10"], abs=0.005)
    assert metrics["r@10_p_value"] > 0.01


@pytest.mark.parametrize(
    ("gallery", "positives", "k"), [(6, 1, 1), (6, 2, 3), (5, 4, 2), (4, 1, 9), (6, 6, 1), (6, 0, 2)]
)
def test_chance_is_the_share_of_all_orders(gallery, positives, k):
    right = [number < positives for number in range(gallery)]
    orders = list(itertools.permutations(right))
    share = sum(any(order[:k]) for order in orders) / len(orders)
    assert chance_of_hit(gallery, np.array([positives]), k)[0] == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "trials", "chance"), [(0, 7, 0.2), (3, 7, 0.2), (7, 7, 0.2), (5, 40, 0.1), (1, 1, 0.5)]
)
def test_binomial_tail_is_the_sum_of_its_terms(hits, trials, chance):
    terms = [math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(hits, trials + 1)]
    assert binomial_tail(hits, trials, chance) == pytest.approx(sum(terms), rel=1e-10)


def test_binomial_tail_known_value():
    # Ten heads or more of twelve fair tosses: (66 + 12 + 1) / 4096.
    assert binomial_tail(10, 12, 0.5) == pytest.approx(79 / 4096)


def test_binomial_tail_bounds_unlike_trials():
    chances = [0.05, 0.1, 0.3, 0.4, 0.6]
    mean = sum(chances) / len(chances)
    for hits in range(math.ceil(sum(chances)) + 1, len(chances) + 1):
        exact = sum(
            math.prod(p if hit else 1 - p for p, hit in zip(chances, outcome, strict=True))
            for outcome in itertools.product([0, 1], repeat=len(chances))
            if sum(outcome) >= hits
        )
        assert binomial_tail(hits, len(chances), mean) >= exact


def test_binomial_tail_refuses_impossible_counts():
    with pytest.raises(ValueError, match="9 hits in 7 trials"):
        binomial_tail(9, 7, 0.5)
    with pytest.raises(ValueError, match="not a probability"):
        binomial_tail(1, 7, 1.5)


def test_clips_without_a_modality_are_left_out_and_counted():
    draw = np.random.default_rng(0)
    vectors = {name: _unit(draw.normal(size=(30, 8))) for name in ("video", "audio", "text")}
    present = {name: np.ones(30, bool) for name in vectors}
    present["audio"][:4] = False
    present["text"][3:9] = False
    # What stands in a row without the modality must have no say: here it would win every query.
    spoilt = {name: vector.copy() for name, vector in vectors.items()}
    spoilt["audio"][:4] = 100.0
    spoilt["text"][3:9] = np.nan
    metrics = _retrieval(spoilt, present)
    assert metrics["video_to_audio/clips"] == 26
    assert metrics["video_to_audio/left_out"] == 4
    assert metrics["audio_to_text/clips"] == 21
    assert metrics["audio_to_text/left_out"] == 9
    both = np.arange(9, 30)
    alone = _metrics(vectors["audio"][both], vectors["text"][both], both, both)
    assert {name: metrics[f"audio_to_text/{name}"] for name in alone} == alone


def test_every_ordered_pair_and_the_joint_one():
    draw = np.random.default_rng(0)
    names = ("video", "audio", "text", "video+audio")
    vectors = {name: _unit(draw.normal(size=(12, 8))) for name in names}
    metrics = _retrieval(vectors, {name: np.ones(12, bool) for name in names})
    pairs = {name.split("/")[0] for name in metrics}
    assert pairs == {
        "video_to_audio", "audio_to_video", "video_to_text", "text_to_video", "audio_to_text", "text_to_audio",
        "video+audio_to_text", "text_to_video+audio",
    }  # fmt: skip
    assert ("video", "video+audio") not in directions(names)


def test_only_what_lies_in_one_space_is_compared():
    """Two objectives with a space each: a clip's video is near its text in one, and near its audio in the other."""
    draw = np.random.default_rng(1)
    shown, heard = (_unit(draw.normal(size=(12, 8))) for _ in range(2))
    vectors = {"video": shown, "text": shown, "audio@heard": heard, "video@heard": heard}
    metrics = _retrieval(vectors, {name: np.ones(12, bool) for name in vectors})
    pairs = {name.split("/")[0] for name in metrics}
    assert pairs == {"video_to_text", "text_to_video", "audio_to_video@heard", "video_to_audio@heard"}
    assert all(metrics[f"{pair}/r@1"] == 1 for pair in pairs)


def test_oracle_is_told_beside_the_score():
    vectors = {name: _unit(np.random.default_rng(0).normal(size=(12, 8))) for name in ("video", "text")}
    present = {name: np.ones(12, bool) for name in vectors}
    metrics = _retrieval(vectors, present, {"text_to_video/r@1": 0.75, "text_to_video/r@5": 0.9})
    assert metrics["text_to_video/oracle"] == metrics["text_to_video/oracle@1"] == 0.75
    assert metrics["text_to_video/oracle@5"] == 0.9
    assert not any("oracle" in name for name in metrics if name.startswith("video_to_text"))


def test_no_clip_with_both_modalities_gives_counts_alone():
    vectors = {name: np.ones((3, 2), np.float32) for name in ("video", "audio")}
    present = {"video": np.array([True, True, False]), "audio": np.array([False, False, True])}
    assert _retrieval(vectors, present) == {
        "video_to_audio/clips": 0, "video_to_audio/left_out": 3,
        "audio_to_video/clips": 0, "audio_to_video/left_out": 3,
    }  # fmt: skip


def _unit_circle(*degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_several_captions_a_clip_by_hand():
    """Three clips at 0, 60 and 120 degrees, with two captions, three, and one, at angles chosen by hand."""
    clips = np.arange(3)
    video = Side(_unit_circle(0, 60, 120), clips)
    owner = np.array([0, 0, 1, 1, 1, 2])
    text = Side(_unit_circle(20, 95, 50, 35, 10, 75), owner)
    both = {one.name: one for one in directions_of({"video": video, "text": text}, 3)}
    # Distances of the captions from the clips, in degrees:
    #   clip 0 (0):    20  95 | 50 35 10 | 75
    #   clip 1 (60):   40  35 | 10 25 50 | 15
    #   clip 2 (120): 100  25 | 70 85 110 | 45
    to_video, to_text = both["text_to_video"], both["video_to_text"]
    assert to_video.ranking.worst.tolist() == [1, 3, 1, 1, 2, 2]
    # Clip 0: its caption at 20 stands behind that at 10. Clip 1: at 10, the first. Clip 2: at 45, behind that at 25.
    assert to_text.ranking.worst.tolist() == [2, 1, 2]
    # Clip 0: its captions at places 2 and 6. Clip 1: at 1, 3 and 6 (15 is before 25; 35 and 40 before 50). Clip 2: 2.
    precision = [(1 / 2 + 2 / 6) / 2, (1 + 2 / 3 + 3 / 6) / 3, 1 / 2]
    np.testing.assert_allclose(to_text.ranking.precision, precision)
    metrics = retrieval(list(both.values()))
    assert metrics["text_to_video/clips"] == 6 and metrics["video_to_text/clips"] == 3
    assert metrics["text_to_video/r@1"] == pytest.approx(3 / 6)
    assert metrics["video_to_text/r@1"] == pytest.approx(1 / 3)
    assert metrics["video_to_text/map"] == pytest.approx(np.mean(precision))
    assert metrics["text_to_video/map"] == pytest.approx((1 + 1 / 3 + 1 + 1 + 1 / 2 + 1 / 2) / 6)
    # Two of six captions are right for clip 0, three for clip 1, one for clip 2.
    assert metrics["video_to_text/chance"] == pytest.approx((2 / 6 + 3 / 6 + 1 / 6) / 3)
    assert "text_to_video/by_clip/r@1" not in metrics
    assert metrics["video_to_text/by_clip/chance@1"] == pytest.approx(1 / 3)
    # By clip: each clip once, by its nearest caption; those are at 20, 10, 75 for clip 0; 35, 10, 15; 25, 70, 45.
    assert metrics["video_to_text/by_clip/mean_rank"] == pytest.approx((2 + 1 + 2) / 3)


def test_by_clip_a_wrong_clip_counts_once():
    """Two captions of one wrong clip stand before the right one: rank 3 among captions, 2 among clips."""
    video, text = Side(_unit_circle(0, 90), np.arange(2)), Side(_unit_circle(30, 10, 20), np.array([0, 1, 1]))
    metrics = retrieval(directions_of({"video": video, "text": text}, 2))
    assert metrics["video_to_text/mean_rank"] == (3 + 2) / 2
    assert metrics["video_to_text/by_clip/mean_rank"] == (2 + 2) / 2


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_agrees_with_a_slow_loop(seed):
    draw = np.random.default_rng(seed)
    query, gallery = _unit(draw.normal(size=(30, 4))), _unit(draw.normal(size=(50, 4)))
    query_group, gallery_group = draw.integers(0, 12, 30), draw.integers(0, 10, 50)
    found = rank(query, gallery, query_group, gallery_group, block=(7, 11))
    for row in range(30):
        order = np.argsort(-(gallery.astype(float) @ query[row].astype(float)))
        right, hits, total = gallery_group[order] == query_group[row], 0, 0.0
        for place, hit in enumerate(right, 1):
            hits += hit
            total += hits / place if hit else 0.0
        assert found.precision[row] == pytest.approx(total / max(hits, 1))
        assert found.precision_optimistic[row] == pytest.approx(total / max(hits, 1))
        assert found.positives[row] == hits
    assert (found.positives == 0).any() and (found.positives > 1).any()


def test_average_precision_of_ties_goes_against_the_model_and_for_it():
    same = _unit(np.ones((6, 3)))
    metrics = _metrics(same, same, np.repeat([0, 1], 3), np.repeat([0, 1], 3))
    # Three wrong entries before the three right ones, or behind them.
    assert metrics["map"] == pytest.approx((1 / 4 + 2 / 5 + 3 / 6) / 3)
    assert metrics["map_optimistic"] == 1.0


def test_dual_softmax_has_rows_of_its_own():
    draw = np.random.default_rng(0)
    vectors = {name: _unit(draw.normal(size=(30, 8))) for name in ("video", "text")}
    present = {name: np.ones(30, bool) for name in vectors}
    present["text"][3:6] = False
    found = directions_of(sides(vectors, present), 30)
    plain, both = retrieval(found), retrieval(found, dual_softmax=50.0)
    added = {name: value for name, value in both.items() if name not in plain}
    assert {name: both[name] for name in plain} == plain
    assert set(added) == {
        f"{direction}/dsl/{name}"
        for direction in ("video_to_text", "text_to_video")
        for name in [f"r@{k}{end}" for k in (1, 5, 10, 50) for end in ("", "_optimistic")]
        + ["median_rank", "mean_rank"]
    }
    both = np.setdiff1d(np.arange(30), [3, 4, 5])
    worst, _ = dual_softmax_ranks(vectors["text"][both], vectors["video"][both], both, both, 50.0)
    assert added["text_to_video/dsl/mean_rank"] == worst.mean()


def test_p_value_of_the_mean_rank_is_the_share_of_random_orders_as_good():
    draw = np.random.default_rng(0)
    means = draw.integers(1, 41, (40000, 30)).mean(axis=1)
    for mean_rank in (15.0, 18.0, 20.5, 24.0):
        assert mean_rank_p_value(mean_rank, 40, 30) == pytest.approx((means <= mean_rank).mean(), abs=0.012)
    assert mean_rank_p_value(1.0, 1, 30) == 1.0
