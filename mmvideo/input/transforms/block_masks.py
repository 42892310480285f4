"""Block masks: rectangles of hidden cells, the same at all time steps (V-JEPA, arXiv 2404.08471).

The paper hides the union of 8 blocks of 15 % of the area (short-range), or of 2 blocks of 70 % (long-range), with an
aspect ratio of 0.75 to 1.5. It sends each clip through the encoder once for each of the two. Here a clip draws one of
the two each time. The paper's unions vary in size and are trimmed to the smallest of the batch. Here the size is
planned: blocks are drawn until it is reached, and the last block is trimmed, with its first rows kept.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

AREAS = (0.15, 0.7)
"""Area shares of a block, short-range and long-range."""

ASPECTS = (0.75, 1.5)
"""Smallest and largest ratio of a block's height to its width."""


def block_mask(cells: tuple[int, int], hidden: int, rng: np.random.Generator) -> Bool[np.ndarray, "Y X"]:
    """Return a mask over the rows and columns of a grid with exactly `hidden` cells True, fewer than all."""
    area = AREAS[int(rng.integers(len(AREAS)))]
    mask = np.zeros(cells, bool)
    while (missing := hidden - int(mask.sum())) > 0:
        (top, left), (height, width) = _draw_block(cells, area, rng)
        block = np.zeros(cells, bool)
        block[top : top + height, left : left + width] = True
        # New cells in row-major order. If 2 are missing and the block adds (0, 3), (0, 4), (1, 3), it hides the first
        # two.
        rows, columns = np.nonzero(block & ~mask)
        mask[rows[:missing], columns[:missing]] = True
    return mask


def _draw_block(
    cells: tuple[int, int], area: float, rng: np.random.Generator
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first row and column, and the height and width, of a block inside the grid with this area share."""
    aspect = rng.uniform(*ASPECTS)
    # 14 x 14 cells, 15 %, aspect 1: 29.4 cells, a block of 5 x 5.
    wanted = area * cells[0] * cells[1]
    height = int(np.clip(round(np.sqrt(wanted * aspect)), 1, cells[0]))
    width = int(np.clip(round(np.sqrt(wanted / aspect)), 1, cells[1]))
    top, left = rng.integers(0, cells[0] - height + 1), rng.integers(0, cells[1] - width + 1)
    return (int(top), int(left)), (height, width)
