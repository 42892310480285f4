"""Which of the hidden video tokens are predicted (VideoMAE v2's dual masking, arXiv 2303.16727).

The decoder sees the encoded tokens and a share of the hidden ones; the others are neither encoded nor
predicted. How many are predicted follows from how many are hidden. A kind is an order over the tokens
of the grid, of which the first hidden ones are taken: so their number is the planned one, whatever
the encoder's mask.

The running cell numbers the four places of every 2 x 2 cells, and moves these numbers on by one from
step to step: a share of 0.5 predicts, of each such cell, two of four tokens at a step and the other two
at the step after the next. With tube masks, a share in quarters and a multiple of four steps this is
exactly the published pattern; otherwise what is missing, or too much, is drawn among the tokens of one
number.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.config import Masking


def predicted_count(hidden: Int[np.ndarray, " n"], masking: Masking) -> Int[np.ndarray, " n"]:
    """How many of so many hidden video tokens are predicted: the rounded share, one at least."""
    return np.clip(np.floor(masking.decode * hidden + 0.5).astype(np.int64), np.minimum(hidden, 1), hidden)


def decoder_mask(
    hidden: Bool[np.ndarray, " tokens"],
    steps: int,
    cells: tuple[int, int],
    masking: Masking,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " tokens"]:
    """True where a hidden token of the grid `(t, y, x)` is predicted; `cells` are its rows and columns."""
    if masking.decode == 1:
        return hidden
    count = int(predicted_count(np.array([hidden.sum()]), masking)[0])
    rank = _rank(steps, cells, masking.decode_kind, rng)
    # Hidden tokens by rank, those of equal rank in a drawn order.
    order = np.lexsort((rng.random(len(hidden)), rank, ~hidden))
    result = np.zeros_like(hidden)
    result[order[:count]] = True
    return result


def _rank(steps: int, cells: tuple[int, int], kind: str, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
    """The place of every token in the order of its kind; equal ones are drawn among."""
    time, y, x = np.indices((steps, *cells)).reshape(3, -1)
    if kind == "frame":
        return rng.permutation(steps)[time]
    if kind == "running_cell":
        return (2 * (y % 2) + x % 2 + time + rng.integers(4)) % 4
    return np.zeros(time.shape, np.int64)
