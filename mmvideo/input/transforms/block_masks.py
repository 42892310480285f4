"""Masks of blocks: rectangles of cells, the same at all times (V-JEPA, arXiv 2404.08471).

The paper hides the union of 8 blocks of 15 % of the area (short-range), or of 2 blocks of 70 %
(long-range), with an aspect ratio of 0.75 to 1.5, and sends a clip through the encoder once for each
of the two. Here a clip draws one of the two each time it comes. The paper's unions vary in size and
are trimmed to the smallest of the batch; here the size is the planned one: blocks are drawn until it is
reached, and the last one is trimmed, which then hides the rows of it that it covers first.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

AREAS = (0.15, 0.7)
"""Share of the area of a block, short-range and long-range."""

ASPECTS = (0.75, 1.5)
"""Least and largest ratio of a block's height to its width."""


def block_mask(cells: tuple[int, int], hidden: int, rng: np.random.Generator) -> Bool[np.ndarray, "Y X"]:
    """A mask over the rows and columns of a grid, exactly `hidden` of them True, fewer than all."""
    area = AREAS[int(rng.integers(len(AREAS)))]
    mask = np.zeros(cells, bool)
    while (missing := hidden - int(mask.sum())) > 0:
        (top, left), (height, width) = _draw_block(cells, area, rng)
        block = np.zeros(cells, bool)
        block[top : top + height, left : left + width] = True
        rows, columns = np.nonzero(block & ~mask)
        mask[rows[:missing], columns[:missing]] = True
    return mask


def _draw_block(
    cells: tuple[int, int], area: float, rng: np.random.Generator
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First row and column, and height and width, of a block of a share of the area that lies in the grid."""
    aspect = rng.uniform(*ASPECTS)
    wanted = area * cells[0] * cells[1]
    height = int(np.clip(round(np.sqrt(wanted * aspect)), 1, cells[0]))
    width = int(np.clip(round(np.sqrt(wanted / aspect)), 1, cells[1]))
    top, left = rng.integers(0, cells[0] - height + 1), rng.integers(0, cells[1] - width + 1)
    return (int(top), int(left)), (height, width)
