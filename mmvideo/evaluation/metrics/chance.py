"""What guessing would score, and how likely guessing would have scored as well."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int


def chance_of_hit(gallery: int, positives: Int[np.ndarray, "n"], k: int) -> Float[np.ndarray, "n"]:
    """Probability that a random order of the gallery puts a positive among its first `k`.

    One minus the hypergeometric probability that all `k` are drawn from the other
    `gallery - positives` entries; `k / gallery` where there is one positive.

    Args:
      gallery: entries in the gallery.
      positives: how many of them are right, for each query.
      k: places that count.
    """
    positives = np.asarray(positives)
    missed = np.ones(positives.shape, np.float64)
    for drawn in range(min(k, gallery)):
        missed *= np.maximum(gallery - positives - drawn, 0) / (gallery - drawn)
    return 1.0 - missed


def binomial_tail(hits: int, trials: int, chance: float) -> float:
    """Probability of `hits` or more successes in `trials` independent trials of probability `chance`.

    The exact one-sided binomial test (Clopper and Pearson 1934), as a regularised incomplete beta
    function. For trials of unlike probabilities `chance` is their mean; from one hit above the
    expected number on, the binomial tail is then an upper bound of the true one (Hoeffding 1956,
    theorem 5), so that the test errs on the careful side.

    Raises:
      ValueError: `hits` outside `0 … trials`, or a probability outside [0, 1].
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits in {trials} trials cannot be: hits must lie between 0 and the trials")
    if not 0.0 <= chance <= 1.0:
        raise ValueError(f"chance {chance} is no probability")
    from scipy.special import betainc

    return 1.0 if hits == 0 else float(betainc(hits, trials - hits + 1, chance))


def mean_rank_p_value(mean_rank: float, gallery: int, queries: int) -> float:
    """How likely random orders give a mean rank as low as this; each query has one right answer.

    A random rank is uniform on 1 … gallery, of mean `(gallery + 1) / 2` and variance
    `(gallery^2 - 1) / 12`; the mean of many is normal (central limit theorem). It looks at every
    rank, so it tells weak knowledge that R@K doesn't.
    """
    if gallery < 2:
        return 1.0
    deviation = math.sqrt((gallery**2 - 1) / 12 / queries)
    return 0.5 * math.erfc(((gallery + 1) / 2 - mean_rank) / deviation / math.sqrt(2))
