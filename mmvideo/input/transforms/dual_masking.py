"""Dual masking: the choice of the hidden video tokens that are predicted (VideoMAE v2, arXiv 2303.16727).

The decoder receives the encoded tokens and a share of the hidden ones; the rest are neither encoded nor predicted. The
number of predicted tokens follows from the number of hidden ones. A decoder mask is defined by a ranking of the tokens
of the grid: the hidden tokens that rank first are predicted. Their number is therefore the planned one, whatever the
encoder's mask.

The running cell gives the four tokens of every 2 x 2 cells the ranks 0 to 3, and advances the ranks by one at each
step. A share of 0.5 predicts two of the four tokens at a step, and the other two at the second step after it. With tube
masks, a share in quarters and a multiple of four steps this is exactly the published pattern. Otherwise the missing or
surplus tokens are drawn among those of one rank.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.config import Masking


def predicted_count(hidden: Int[np.ndarray, " n"], masking: Masking) -> Int[np.ndarray, " n"]:
    """Return the number of hidden video tokens that are predicted: the rounded share, at least one."""
    return np.clip(np.floor(masking.decode * hidden + 0.5).astype(np.int64), np.minimum(hidden, 1), hidden)


def decoder_mask(
    hidden: Bool[np.ndarray, " tokens"],
    steps: int,
    cells: tuple[int, int],
    masking: Masking,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " tokens"]:
    """Return a mask of the hidden tokens of the grid `(t, y, x)` that are predicted; `cells` are its rows and
    columns."""
    # All hidden tokens are predicted: nothing to rank or draw.
    if masking.decode == 1:
        return hidden
    count = int(predicted_count(np.array([hidden.sum()]), masking)[0])
    rank = _rank(steps, cells, masking.decode_kind, rng)
    # lexsort takes its last key first: hidden tokens come before visible ones, then by rank, equal ranks at random.
    order = np.lexsort((rng.random(len(hidden)), rank, ~hidden))
    result = np.zeros_like(hidden)
    result[order[:count]] = True
    return result


def _rank(steps: int, cells: tuple[int, int], kind: str, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
    """Return the rank of every token in the order of its kind; equal ranks are ordered at random by the caller."""
    time, y, x = np.indices((steps, *cells)).reshape(3, -1)
    if kind == "frame":
        return rng.permutation(steps)[time]
    if kind == "running_cell":
        # Cells (0, 0), (0, 1), (1, 0), (1, 1) rank 0, 1, 2, 3 at step 0 and 1, 2, 3, 0 at step 1, plus a random offset.
        return (2 * (y % 2) + x % 2 + time + rng.integers(4)) % 4
    return np.zeros(time.shape, np.int64)
