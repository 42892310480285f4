"""Means, intervals and p values are those of scipy; verdicts are told by the interval."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from mmvideo.ablation.statistics import estimate, judge, one_sided_p, paired

FIRST = {0: 0.71, 1: 0.74, 2: 0.69, 5: 0.75}
SECOND = {0: 0.66, 1: 0.70, 2: 0.67, 5: 0.65, 7: 0.1}


def test_the_interval_is_scipys():
    found, values = estimate(list(FIRST.values())), list(FIRST.values())
    low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    assert (found.low, found.high, found.seeds) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12), 4)


def test_the_interval_of_two_seeds_is_that_of_a_hand_made_table():
    # t(0.975, 1) = 12.706; s / sqrt(2) of (1, 3) is 1.
    found = estimate([1.0, 3.0])
    assert (found.mean, round(found.half, 3)) == (2.0, 12.706)


def test_one_seed_has_no_interval_and_none_has_no_mean():
    assert estimate([0.5]).half is None and math.isinf(estimate([0.5]).low)
    assert estimate([]) is None


@pytest.mark.parametrize("margin", [0.0, 0.03, 0.2])
def test_p_is_that_of_scipys_paired_test(margin):
    gains = paired(FIRST, SECOND)
    assert sorted(gains) == [0, 1, 2, 5], "seeds that both have"
    first, second = list(FIRST.values()), [SECOND[seed] + margin for seed in FIRST]
    expected = stats.ttest_rel(first, second, alternative="greater").pvalue
    assert one_sided_p(list(gains.values()), margin) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("gains", "margin", "outcome"),
    [
        ([0.1, 0.11, 0.12], 0.0, "holds"),
        ([-0.1, -0.11, -0.12], 0.0, "reversed"),
        ([0.1, 0.11, 0.12], 0.11, "not settled"),
        ([0.1, 0.11, 0.12], 0.5, "reversed"),
        ([-0.01, 0.0, 0.01], -0.05, "holds"),
        ([0.1, -0.1, 0.05], 0.0, "not settled"),
        ([0.0, 0.0, 0.0], 0.0, "not settled"),
        ([0.4], 0.0, "not measured"),
        ([], 0.0, "not measured"),
    ],
)
def test_a_claim_is_judged_by_its_interval(gains, margin, outcome):
    assert judge(gains, margin).outcome == outcome


def test_the_verdict_agrees_with_p_and_rounding_alone_is_no_spread():
    found = judge([0.1, 0.11, 0.12])
    assert found.p < 0.025 and found.gain.mean == pytest.approx(0.11)
    assert one_sided_p([0.3 - 0.2, 0.1, 0.4 - 0.3], 0.1) == 0.5
    assert one_sided_p([0.1, 0.1]) == 0.0 and one_sided_p([-0.1, -0.1]) == 1.0 and one_sided_p([0.1]) is None
