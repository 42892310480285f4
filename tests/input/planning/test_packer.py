"""Packing: every clip in exactly one row, no budget exceeded, little waste."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mmvideo.input.planning.packer import pack


def _random_sizes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Clips with pictures, sound or both, and a caption."""
    kind = rng.integers(0, 3, count)
    video = np.where(kind != 1, 16 * rng.integers(1, 5, count), 0)
    audio = np.where(kind != 0, 8 * rng.integers(1, 13, count), 0)
    text = rng.integers(5, 25, count)
    return np.stack([video + audio + text, np.ones(count, int), video, audio, text], axis=1)


def _used(sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    used = np.zeros((rows.max() + 1, sizes.shape[1]), np.int64)
    np.add.at(used, rows, sizes)
    return used


@pytest.mark.parametrize("seed", range(8))
def test_no_budget_is_exceeded_and_no_row_is_empty(seed: int):
    rng = np.random.default_rng(seed)
    sizes = _random_sizes(rng, int(rng.integers(1, 3000)))
    budget = np.array([rng.integers(200, 900), rng.integers(1, 12), 0, 0, 0])
    budget[2:] = np.maximum(sizes[:, 2:].max(axis=0), rng.integers(32, 500, 3))
    rows = pack(sizes, budget, window=int(rng.integers(16, 600)))
    used = _used(sizes, rows)
    assert (used <= budget).all()
    assert (used[:, 1] >= 1).all()
    assert used[:, 1].sum() == len(sizes)


def test_mixed_clips_fill_their_rows():
    sizes = _random_sizes(np.random.default_rng(0), 4000)
    budget = np.array([512, 12, 512, 512, 512])
    rows = pack(sizes, budget)
    assert sizes[:, 0].sum() / ((rows.max() + 1) * 512) > 0.95


def test_rows_are_full_when_every_clip_divides_them():
    sizes = np.full((64, 1), 128)
    assert (np.bincount(pack(sizes, np.array([512]))) == 4).all()


def test_one_clip_and_none():
    assert pack(np.array([[5, 1]]), np.array([8, 1])).tolist() == [0]
    assert pack(np.zeros((0, 2), np.int64), np.array([8, 1])).tolist() == []


def test_a_clip_larger_than_a_row_is_an_error():
    with pytest.raises(ValueError, match="clip 1 needs 9 of budget 0, a row has 8"):
        pack(np.array([[5, 1], [9, 1]]), np.array([8, 1]))


def test_packing_grows_in_proportion_to_the_corpus():
    rng = np.random.default_rng(0)
    seconds = []
    for count in (20_000, 100_000):
        sizes = _random_sizes(rng, count)
        started = time.process_time()
        pack(sizes, np.array([512, 12, 512, 512, 512]))
        seconds.append(time.process_time() - started)
    # Five times the clips; a quadratic packer would need 25 times as long.
    assert seconds[1] < 15 * seconds[0]
