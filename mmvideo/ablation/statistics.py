"""Statistics over seeds: means, paired differences, and verdicts on claims.

Two cells are compared seed by seed: runs of one seed start from the same initial parameters, as far as their models
agree, and see clips in the same order. So the difference cancels much of what seeds change. Intervals are those of
Student's t at 95 %, under the assumption of normal differences; with three seeds they are wide, and should be.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

LEVEL = 0.95
"""Confidence level of the intervals."""

Outcome = Literal["holds", "reversed", "not settled", "not measured"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
      mean: the mean.
      half: half of its interval; None for a single seed, which has no interval.
      seeds: number of seeds.
    """

    mean: float
    half: float | None
    seeds: int

    @property
    def low(self) -> float:
        """The lower end of the interval; minus infinity where there is none."""
        return -math.inf if self.half is None else self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval; infinity where there is none."""
        return math.inf if self.half is None else self.mean + self.half


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on a claim.

    Attributes:
      outcome: `holds` where the whole interval of the gain is above the margin, `reversed` where all of it is below,
        `not settled` where the margin is inside; `not measured` with fewer than two seeds.
      gain: difference in the unit of the metric, positive in the claimed direction, also for metrics where less is
        better; None without a seed.
      p: one-sided p-value of a gain no larger than the margin; None without an interval.
      why: reason why it was not measured, or only with some of the seeds.
    """

    outcome: Outcome
    gain: Estimate | None = None
    p: float | None = None
    why: str = ""


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the mean and the interval of one value per seed; None without values.

    The half is t(0.975, n - 1) s / sqrt(n), with the standard deviation s of a sample.
    """
    from scipy import stats

    count = len(values)
    if count == 0:
        return None
    mean = float(np.mean(values))
    if count == 1:
        return Estimate(mean, None, 1)
    # Values [1, 2, 3]: mean 2, s = 1, error 1 / sqrt(3) = 0.577, t(0.975, 2) = 4.303, so the half is 2.48.
    return Estimate(mean, float(_error(values) * stats.t.ppf((1 + LEVEL) / 2, count - 1)), count)


def _error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; 0 where only rounding separates the values."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    # 0.1 + 0.2 and 0.3 differ by 6e-17: a spread of that size is rounding, and a test against it would be certain of
    # anything.
    return 0.0 if error < 1e-12 * max(1.0, float(np.max(np.abs(values)))) else error


def one_sided_p(differences: Sequence[float], margin: float = 0.0) -> float | None:
    """Return the p-value of a one-sample t test against a true mean no larger than the margin.

    None with fewer than two differences. Equal differences have no spread: 0 above the margin, 1 below, 0.5 on it.
    """
    from scipy import stats

    if len(differences) < 2:
        return None
    excess, error = float(np.mean(differences)) - margin, _error(differences)
    # All differences equal the mean, so the t statistic would be 0 / 0 or infinite.
    if error == 0.0:
        return 0.5 if math.isclose(excess, 0.0, abs_tol=1e-12) else float(excess < 0)
    return float(stats.t.sf(excess / error, len(differences) - 1))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return first minus second for the seeds that both have: {0: 5, 1: 6} and {1: 4, 2: 3} give {1: 2}."""
    return {seed: value - second[seed] for seed, value in first.items() if seed in second}


def judge(gains: Sequence[float], margin: float = 0.0, why: str = "") -> Verdict:
    """Return the verdict on a claim.

    Args:
      gains: gains in the claimed direction, one per seed.
      margin: gain that must be exceeded.
      why: explanation of missing seeds.
    """
    gain, p = estimate(gains), one_sided_p(gains, margin)
    if gain is None or gain.half is None:
        few = "no seed has all cells" if gain is None else "only one seed has all cells"
        return Verdict("not measured", gain, None, f"{few}: {why}" if why else few)
    # A bound that equals the margin but for rounding is on the margin, and settles nothing.
    if gain.low > margin and not math.isclose(gain.low, margin, abs_tol=1e-12):
        return Verdict("holds", gain, p, why)
    if gain.high < margin and not math.isclose(gain.high, margin, abs_tol=1e-12):
        return Verdict("reversed", gain, p, why)
    return Verdict("not settled", gain, p, why)
