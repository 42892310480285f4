"""Vector bin packing: assigns clips to rows under several budgets at once, many windows side by side.

The clips of an epoch are cut into windows of a few hundred clips. Each window starts with as many rows as its
summed sizes require. Clips are placed by decreasing size. A clip goes to the row whose free slots have the
proportions most similar to the clip's own needs, among the rows that can hold it: a row short of audio slots but
with free video slots receives a clip without audio. (Panigrahy et al. 2011, "Heuristics for vector bin packing";
here the similarity is the cosine between the clip's needs and the row's free slots, both as shares of the budgets.)
A clip that fits no open row opens another one. The same array operations place the k-th clips of all windows, so a
million clips take seconds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

WINDOW = 512
"""Clips packed together. A larger window wastes less (about half a row a window) and takes longer."""

_TOGETHER = 256
"""Windows packed together; their tables then stay in the processor's cache."""


def pack(sizes: Int[np.ndarray, "n d"], budget: Int[np.ndarray, " d"], window: int = WINDOW) -> Int[np.ndarray, " n"]:
    """Return the row of every clip.

    Args:
      sizes: slots that each clip needs of each budget.
      budget: slots that a row has of each budget.
      window: approximate number of clips that are packed together.

    Returns:
      row numbers from 0 on without gaps; rows of earlier windows come first.

    Raises:
      ValueError: a clip is larger than an empty row.
    """
    if (sizes > budget).any():
        clip, column = np.argwhere(sizes > budget)[0]
        raise ValueError(f"clip {clip} needs {sizes[clip, column]} of budget {column}, a row has {budget[column]}")
    result = np.zeros(len(sizes), np.int64)
    needed = sizes.any(axis=0)
    if len(sizes) == 0 or not needed.any():
        return result
    sizes, budget = sizes[:, needed], budget[needed]
    # A budget that no clip uses would divide by zero in the cosine, so it is left out above.
    order, present = _windows(sizes, budget, window)
    rows = 0
    for start in range(0, len(order), _TOGETHER):
        part, real = order[start : start + _TOGETHER], present[start : start + _TOGETHER]
        items = np.where(real[..., None], sizes[part], 0).astype(np.float32)
        numbers, count = _number(_place(items, real, budget.astype(np.float32)), real)
        result[part[real]] = numbers[real] + rows
        rows += count
    return result


def _windows(sizes: np.ndarray, budget: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the clip numbers `[windows, width]`, by decreasing size in each window, and a mask of the cells that hold
    a clip."""
    count = len(sizes)
    # 1300 clips with windows of 512: round(2.54) = 3 windows of 433 or 434 clips.
    windows = max(1, round(count / window))
    width = -(-count // windows)
    # 5 clips in 2 windows: the width is 3 and the lengths are [2, 3], so only the first windows are one clip short.
    lengths = np.full(windows, width)
    lengths[: windows * width - count] -= 1
    present = np.arange(width)[None, :] < lengths[:, None]
    order = np.zeros((windows, width), np.int64)
    order[present] = np.arange(count)
    largest = (sizes / budget).max(axis=1)
    # Empty cells sort last: their key is infinite.
    key = np.where(present, -largest[order], np.inf)
    return np.take_along_axis(order, np.argsort(key, axis=1, kind="stable"), axis=1), present


def _place(items: np.ndarray, present: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """Return the row, within its window, of every item: sizes `[windows, width, d]` to rows `[windows, width]`."""
    windows, width, dimensions = items.shape
    # Lower bound of the rows of each window: sums [30, 12] under budgets [10, 8] need max(3, 2) = 3 rows.
    opened = np.maximum(np.ceil((items.sum(axis=1) / budget).max(axis=1)), 1).astype(np.int64)
    room = [np.full((windows, opened.max() + 4), budget[d], np.float32) for d in range(dimensions)]
    # The cosine of need n and free slots r, as shares of the budgets b, is sum(n r / b^2) / (|n / b| |r / b|). The
    # factor |n / b| is the same for all rows of a clip, so it is left out. `alike` holds 1 / |r / b|: for an empty row
    # of d budgets every share is 1, so it is d ** -0.5.
    weight = 1 / budget**2
    alike = np.full_like(room[0], dimensions**-0.5)
    each, place = np.arange(windows), np.arange(room[0].shape[1])
    chosen = np.zeros((windows, width), np.int64)
    for k in range(width):
        need = items[:, k]
        score = sum(room[d] * (need[:, d, None] * weight[d]) for d in range(dimensions)) * alike
        # A score of -1 excludes rows that are not open yet and rows in which some budget is too small.
        score[place[None, :] >= opened[:, None]] = -1
        for d in range(dimensions):
            score[room[d] < need[:, d, None]] = -1
        # A clip whose best score is negative fits no open row and opens the next one. An absent clip needs nothing, so
        # it changes no row.
        choice = score.argmax(axis=1)
        nowhere = (score[each, choice] < 0) & present[:, k]
        choice[nowhere] = opened[nowhere]
        opened[nowhere] += 1
        for d in range(dimensions):
            room[d][each, choice] -= need[:, d]
        # Only the chosen rows have changed, so only their norms are computed again.
        left = sum(room[d][each, choice] ** 2 * weight[d] for d in range(dimensions))
        alike[each, choice] = 1 / np.sqrt(np.maximum(left, 1e-12))
        chosen[:, k] = choice
        # The tables always keep one unopened row: double them when the last one was opened.
        if opened.max() >= len(place):
            room = [np.pad(r, ((0, 0), (0, len(place))), constant_values=budget[d]) for d, r in enumerate(room)]
            alike = np.pad(alike, ((0, 0), (0, len(place))), constant_values=dimensions**-0.5)
            place = np.arange(2 * len(place))
    return chosen


def _number(chosen: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, int]:
    """Return row numbers without gaps over all windows, and the number of rows."""
    # Window 0 uses rows [0, 2] and window 1 rows [0, 1]. With 3 rows a window
    # the keys are [0, 2, 3, 4] and the row numbers [0, 1, 2, 3].
    key = np.arange(len(chosen))[:, None] * (chosen.max() + 1) + chosen
    used, numbers = np.unique(key[present], return_inverse=True)
    result = np.zeros(chosen.shape, np.int64)
    result[present] = numbers
    return result, len(used)
