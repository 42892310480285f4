"""Budgets: rows are full, content has little slack, and no clip is too large without a clear word."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.input.config import Packing
from mmvideo.input.planning.budgets import choose_budgets, fill, grow_packing
from mmvideo.input.planning.packer import pack
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS, TokenCounts


def _needs(clips: int, seed: int, video: float, audio: float) -> np.ndarray:
    """A corpus of clips with pictures, sound or both, of which shares are hidden."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, clips)
    steps_v = np.where(kind != 1, rng.integers(1, 5, clips), 0)
    steps_a = np.where(kind != 0, rng.integers(1, 13, clips), 0)
    hidden_v, hidden_a = steps_v * round(16 * video), steps_a * round(8 * audio)
    text = rng.integers(5, 25, clips)
    sizes = TokenCounts(
        steps_v, steps_a, steps_v * 16 - hidden_v, steps_a * 8 - hidden_a, hidden_v, hidden_a,
        text=text, text_hidden=text // 6, decoded=video > 0 or audio > 0,
    )  # fmt: skip
    everyone = np.arange(clips)
    return sizes.table(SampledExamples(everyone, everyone[:, None], np.ones((clips, 3), bool), np.ones(clips, bool)))


@pytest.mark.parametrize(("video", "audio"), [(0.0, 0.0), (0.5, 0.5), (0.9, 0.0), (0.75, 0.75)])
@pytest.mark.parametrize("clips", [300, 3000])
def test_derived_budgets_let_rows_be_full_with_little_slack(clips: int, video: float, audio: float):
    needs = _needs(clips, 1, video, audio)
    budget = choose_budgets(needs, needs.max(axis=0), Packing(tokens=512, clips=24), lambda column: "a clip")
    rows = int(pack(needs, budget).max()) + 1
    shares = dict(zip(TOKEN_BUDGETS, fill(needs, rows, budget), strict=True))
    assert shares["tokens"] > 0.95
    for name in ("video", "audio", "text", "decode"):
        if shares[name]:
            assert shares[name] > 0.6, name
    assert (budget >= needs.max(axis=0)).all()
    assert (budget[2:8] % 8 == 0).all()


def test_budgets_of_the_config_are_kept():
    needs = _needs(300, 2, 0.0, 0.0)
    budget = choose_budgets(needs, needs.max(axis=0), Packing(clips=9, video=300, text=77), lambda column: "a clip")
    assert budget[:3].tolist() == [512, 9, 300]
    assert budget[4] == 77


def test_a_clip_that_no_row_can_hold_is_named_with_the_setting_to_change():
    needs = _needs(300, 3, 0.0, 0.0)
    largest = needs.max(axis=0)
    with pytest.raises(ValueError, match=rf"clip abc needs {largest[0]} tokens, but input.packing.tokens is 100"):
        choose_budgets(needs, largest, Packing(tokens=100), lambda column: "clip abc")
    with pytest.raises(ValueError, match="64 video tokens, but input.packing.video is 32; raise input.packing.video"):
        choose_budgets(needs, largest, Packing(video=32), lambda column: "clip abc")


def test_rows_of_evaluation_have_room_for_the_largest_clip():
    largest = _needs(300, 3, 0.0, 0.0).max(axis=0)
    wide = grow_packing(largest, Packing(tokens=100, video=32))
    assert (wide.tokens, wide.video, wide.audio) == (largest[0], largest[2], None)
    assert grow_packing(largest, Packing(tokens=10_000)) == Packing(tokens=10_000)
