"""Packing clips into rows within several budgets at once, many windows side by side.

The clips of an epoch are cut into windows of a few hundred, and each window gets as many rows as its
sums demand. Clips are placed by decreasing size, every one in that row, of those with room for it,
whose room is most alike in its proportions: a row short of sound slots but with room for pictures
takes a silent clip. (Vector bin packing: Panigrahy et al. 2011, "Heuristics for vector bin packing";
here with the cosine between the clip's needs and the row's room, as shares of the budgets.) Only a
clip that fits nowhere opens another row. The k-th clips of all windows are placed by the same array
operations, which makes a million clips a matter of seconds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

WINDOW = 512
"""Clips packed together. A larger window wastes less (about half a row a window) and takes longer."""

_TOGETHER = 256
"""Windows whose tables stay in the processor's cache while they are packed."""


def pack(sizes: Int[np.ndarray, "n d"], budget: Int[np.ndarray, " d"], window: int = WINDOW) -> Int[np.ndarray, " n"]:
    """The row of every clip.

    Args:
      sizes: what each clip needs of each budget.
      budget: how much of each a row has.
      window: clips that are packed together, about.

    Returns:
      row numbers from 0 on without gaps; rows of earlier windows come first.

    Raises:
      ValueError: a clip that is larger than an empty row.
    """
    if (sizes > budget).any():
        clip, column = np.argwhere(sizes > budget)[0]
        raise ValueError(f"clip {clip} needs {sizes[clip, column]} of budget {column}, a row has {budget[column]}")
    result = np.zeros(len(sizes), np.int64)
    needed = sizes.any(axis=0)
    if len(sizes) == 0 or not needed.any():
        return result
    sizes, budget = sizes[:, needed], budget[needed]
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
    """Clip numbers `[windows, width]`, in each window by decreasing size, and which places hold a clip."""
    count = len(sizes)
    windows = max(1, round(count / window))
    width = -(-count // windows)
    lengths = np.full(windows, width)
    lengths[: windows * width - count] -= 1
    present = np.arange(width)[None, :] < lengths[:, None]
    order = np.zeros((windows, width), np.int64)
    order[present] = np.arange(count)
    largest = (sizes / budget).max(axis=1)
    key = np.where(present, -largest[order], np.inf)
    return np.take_along_axis(order, np.argsort(key, axis=1, kind="stable"), axis=1), present


def _place(items: np.ndarray, present: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """The row within its window of every item: `[windows, width, d]` sizes to `[windows, width]` rows."""
    windows, width, dimensions = items.shape
    opened = np.maximum(np.ceil((items.sum(axis=1) / budget).max(axis=1)), 1).astype(np.int64)
    room = [np.full((windows, opened.max() + 4), budget[d], np.float32) for d in range(dimensions)]
    weight = 1 / budget**2
    alike = np.full_like(room[0], dimensions**-0.5)
    each, place = np.arange(windows), np.arange(room[0].shape[1])
    chosen = np.zeros((windows, width), np.int64)
    for k in range(width):
        need = items[:, k]
        score = sum(room[d] * (need[:, d, None] * weight[d]) for d in range(dimensions)) * alike
        score[place[None, :] >= opened[:, None]] = -1
        for d in range(dimensions):
            score[room[d] < need[:, d, None]] = -1
        choice = score.argmax(axis=1)
        nowhere = (score[each, choice] < 0) & present[:, k]
        choice[nowhere] = opened[nowhere]
        opened[nowhere] += 1
        for d in range(dimensions):
            room[d][each, choice] -= need[:, d]
        left = sum(room[d][each, choice] ** 2 * weight[d] for d in range(dimensions))
        alike[each, choice] = 1 / np.sqrt(np.maximum(left, 1e-12))
        chosen[:, k] = choice
        if opened.max() >= len(place):
            room = [np.pad(r, ((0, 0), (0, len(place))), constant_values=budget[d]) for d, r in enumerate(room)]
            alike = np.pad(alike, ((0, 0), (0, len(place))), constant_values=dimensions**-0.5)
            place = np.arange(2 * len(place))
    return chosen


def _number(chosen: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, int]:
    """Row numbers without gaps over all windows, and how many rows there are."""
    key = np.arange(len(chosen))[:, None] * (chosen.max() + 1) + chosen
    used, numbers = np.unique(key[present], return_inverse=True)
    result = np.zeros(chosen.shape, np.int64)
    result[present] = numbers
    return result, len(used)
