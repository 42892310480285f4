"""Scores of guessing, and the probability of guessing at least as well."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int


def chance_of_hit(gallery: int, positives: Int[np.ndarray, "n"], k: int) -> Float[np.ndarray, "n"]:
    """Return the probability that a random order of the gallery has a positive among its first `k`.

    It is one minus the hypergeometric probability that all `k` are drawn from the other `gallery - positives` entries:
    `k / gallery` for one positive.

    Args:
      gallery: Number of entries of the gallery.
      positives: Number of right entries, for each query.
      k: Number of first entries that count.
    """
    positives = np.asarray(positives)
    missed = np.ones(positives.shape, np.float64)
    for drawn in range(min(k, gallery)):
        # 5 entries, 2 right, k = 2: 3/5 * 2/4 = 0.3 miss, so 0.7 hit.
        missed *= np.maximum(gallery - positives - drawn, 0) / (gallery - drawn)
    return 1.0 - missed


def binomial_tail(hits: int, trials: int, chance: float) -> float:
    """Return the probability of `hits` or more successes in `trials` independent trials of probability `chance`.

    This is the exact one-sided binomial test (Clopper and Pearson 1934), as a regularised incomplete beta function. For
    trials of different probabilities, `chance` is their mean. From one hit above the expected number on, the binomial
    tail is then an upper bound of the true one (Hoeffding 1956, theorem 5), so that the test is conservative.

    Raises:
      ValueError: `hits` is outside `0 … trials`, or `chance` is outside [0, 1].
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits in {trials} trials are impossible: hits must be in 0 … {trials}")
    if not 0.0 <= chance <= 1.0:
        raise ValueError(f"chance {chance} is not a probability: it must be in [0, 1]")
    from scipy.special import betainc

    # betainc(h, n - h + 1, p) is the probability of h or more hits: h = n = 1 gives p.
    return 1.0 if hits == 0 else float(betainc(hits, trials - hits + 1, chance))


def mean_rank_p_value(mean_rank: float, gallery: int, queries: int) -> float:
    """Return the probability that random orders give a mean rank as low as this, with one right entry a query.

    A random rank is uniform on 1 … gallery, with mean `(gallery + 1) / 2` and variance `(gallery^2 - 1) / 12`; the mean
    of many is normal (central limit theorem). The test uses every rank, so it detects weak knowledge that R@K does not.
    """
    if gallery < 2:
        return 1.0
    # 100 entries and 25 queries: mean 50.5, deviation 28.9 / 5 = 5.8; a mean rank of 39 is two deviations below.
    deviation = math.sqrt((gallery**2 - 1) / 12 / queries)
    return 0.5 * math.erfc(((gallery + 1) / 2 - mean_rank) / deviation / math.sqrt(2))
