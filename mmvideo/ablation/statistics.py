"""What runs with several seeds can tell: means, paired differences, and whether a claim holds.

Two cells are compared seed by seed: runs of one seed begin with the same new parameters, as far as they have the same,
and see clips in the same order, so that much of what seeds change falls out of their difference. Intervals are those
of Student's t at 95 %, as if the differences were normal; with three seeds they are wide, and should be.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

LEVEL = 0.95
"""Of intervals."""

Outcome = Literal["holds", "reversed", "not settled", "not measured"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
      mean: it.
      half: half of its interval; None for a single seed, which tells none.
      seeds: how many there were.
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
    """What became of a claim.

    Attributes:
      outcome: `holds` where all of the interval of the gain is above the margin, `reversed` where all of it is below,
        `not settled` where the margin is within; `not measured` with fewer than two seeds.
      gain: how much better, in the unit of the metric: positive is as claimed, also where less is better; None
        without a seed.
      p: one-sided, of a gain no larger than the margin; None where there is no interval.
      why: it was not measured, or only with some of the seeds.
    """

    outcome: Outcome
    gain: Estimate | None = None
    p: float | None = None
    why: str = ""


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and interval of one value a seed; None without values.

    The half is t(0.975, n - 1) s / sqrt(n), with the standard deviation s of a sample.
    """
    from scipy import stats

    count = len(values)
    if count == 0:
        return None
    mean = float(np.mean(values))
    if count == 1:
        return Estimate(mean, None, 1)
    return Estimate(mean, float(_error(values) * stats.t.ppf((1 + LEVEL) / 2, count - 1)), count)


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean; what rounding alone makes is none."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return 0.0 if error < 1e-12 * max(1.0, float(np.max(np.abs(values)))) else error


def one_sided_p(differences: Sequence[float], margin: float = 0.0) -> float | None:
    """How likely a mean so far above the margin is if the true one is no larger than the margin (one-sample t test).

    None with fewer than two differences. Equal ones have no spread to judge by: 0 above the margin, 1 below, 0.5 on it.
    """
    from scipy import stats

    if len(differences) < 2:
        return None
    excess, error = float(np.mean(differences)) - margin, _error(differences)
    if error == 0.0:
        return 0.5 if math.isclose(excess, 0.0, abs_tol=1e-12) else float(excess < 0)
    return float(stats.t.sf(excess / error, len(differences) - 1))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """First minus second of the seeds that both have."""
    return {seed: value - second[seed] for seed, value in first.items() if seed in second}


def judge(gains: Sequence[float], margin: float = 0.0, why: str = "") -> Verdict:
    """The verdict on a claim.

    Args:
      gains: how much better, one a seed.
      margin: what it must be above.
      why: seeds are missing, in words.
    """
    gain, p = estimate(gains), one_sided_p(gains, margin)
    if gain is None or gain.half is None:
        few = "no seed has all cells" if gain is None else "only one seed has all cells"
        return Verdict("not measured", gain, None, f"{few}: {why}" if why else few)
    if gain.low > margin and not math.isclose(gain.low, margin, abs_tol=1e-12):
        return Verdict("holds", gain, p, why)
    if gain.high < margin and not math.isclose(gain.high, margin, abs_tol=1e-12):
        return Verdict("reversed", gain, p, why)
    return Verdict("not settled", gain, p, why)
