"""What is neither encoded nor predicted: exact numbers, drawn alike, in the patterns that were published."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.input.config import Masking
from mmvideo.input.transforms import drop_token, dual_masking, masking


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_hidden_and_visible_tokens_lose_the_same_share(share: float):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hidden = rng.random(int(rng.integers(1, 60))) < rng.random()
        kept = drop_token.drop_token_mask(hidden, share, rng)
        for kind in (hidden, ~hidden):
            assert kept[kind].sum() == drop_token.kept_count(np.array([kind.sum()]), share)[0]
            assert kept[kind].sum() >= kind.any()
            assert abs(kept[kind].sum() - (1 - share) * kind.sum()) <= (0.5 if kept[kind].sum() > 1 else 1)


def test_every_token_is_dropped_as_often_as_any_other():
    hidden = np.arange(16) < 8
    counts = sum(
        drop_token.drop_token_mask(hidden, 0.25, np.random.default_rng(seed)).astype(int) for seed in range(4000)
    )
    # 3000 expected each; five standard deviations of a binomial are 137.
    assert abs(counts - 3000).max() < 137


@pytest.mark.parametrize("kind", ["random", "frame", "running_cell"])
@pytest.mark.parametrize("hide", ["tube", "random", "frame", "blocks"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_as_many_hidden_tokens_are_predicted_as_planned(kind: str, hide: str, share: float):
    config = Masking(video=0.75, video_kind=hide, decode=share, decode_kind=kind)
    for steps in (1, 2, 4, 7):
        rng = np.random.default_rng(steps)
        hidden = masking.video_mask(steps, (4, 6), config, rng)
        predicted = dual_masking.decoder_mask(hidden, steps, (4, 6), config, rng)
        assert predicted.sum() == dual_masking.predicted_count(np.array([hidden.sum()]), config)[0]
        assert not (predicted & ~hidden).any()
        assert predicted.any() == hidden.any()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_running_cell_is_the_published_pattern(share: float):
    # VideoMAE v2 marks, of four numbers in a queue that turns by one a step, the first ones as left out.
    config = Masking(video=0.9, decode=share)
    hidden = masking.video_mask(8, (4, 6), config, np.random.default_rng(0))
    queue = np.repeat([1, 0], [round(4 * (1 - share)), round(4 * share)])
    patterns = []
    for phase in range(4):
        cells = [np.tile(queue[(np.arange(4) + phase + step) % 4].reshape(2, 2), (2, 3)) for step in range(8)]
        patterns.append(tuple((hidden & (np.stack(cells).ravel() == 0)).tolist()))
    rngs = (np.random.default_rng(seed) for seed in range(40))
    found = {tuple(dual_masking.decoder_mask(hidden, 8, (4, 6), config, rng).tolist()) for rng in rngs}
    assert found == set(patterns)


def test_whole_steps_are_predicted():
    config = Masking(video=0.5, decode=0.5, decode_kind="frame")
    rng = np.random.default_rng(0)
    hidden = masking.video_mask(6, (4, 4), config, rng)
    predicted = dual_masking.decoder_mask(hidden, 6, (4, 4), config, rng).reshape(6, 16)
    whole = (predicted == hidden.reshape(6, 16)).all(axis=1)
    assert whole.sum() == 3 and not predicted[~whole].any()


def test_blocks_are_rectangles_at_all_times_until_the_share_is_reached():
    config = Masking(video=0.6, video_kind="blocks")
    areas = []
    for seed in range(200):
        mask = masking.video_mask(3, (14, 14), config, np.random.default_rng(seed)).reshape(3, 14, 14)
        assert (mask == mask[:1]).all() and mask[0].sum() == round(0.6 * 196)
        # A block is at least 5 x 5 cells: what was not trimmed is covered by hidden 4 x 4 squares.
        squares = np.lib.stride_tricks.sliding_window_view(mask[0], (4, 4)).all(axis=(2, 3))
        areas.append(_covered(squares) / mask[0].sum())
    assert np.mean(areas) > 0.95 and min(areas) > 0.7


def test_few_large_blocks_leave_an_edge_and_many_small_ones_leave_holes():
    config = Masking(video=0.7, video_kind="blocks")
    rngs = (np.random.default_rng(seed) for seed in range(200))
    masks = [masking.video_mask(1, (14, 14), config, rng).reshape(14, 14) for rng in rngs]
    # The middle of the picture lies in every block of 0.7 of the area; those of 0.15 cover it or not.
    holes = np.mean([not mask[4:10, 4:10].all() for mask in masks])
    assert 0.1 < holes < 0.5
    # One large block hides a rectangle; many small ones hide none so large.
    rectangles = [mask.any(axis=1).sum() * mask.any(axis=0).sum() for mask in masks]
    assert 0.25 < np.mean([area < 160 for area in rectangles]) < 0.75


def _covered(squares: np.ndarray) -> int:
    """Cells that lie in a marked 4 x 4 square."""
    cells = np.zeros((squares.shape[0] + 3, squares.shape[1] + 3), bool)
    for y in range(4):
        for x in range(4):
            cells[y : y + squares.shape[0], x : x + squares.shape[1]] |= squares
    return int(cells.sum())
