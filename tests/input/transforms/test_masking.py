"""Masks: exactly as many hidden as planned, of the right shape, never everything."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.input.config import Masking
from mmvideo.input.transforms import masking


@pytest.mark.parametrize("kind", ["tube", "random", "frame", "blocks"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_video_masks_hide_what_was_planned(kind: str, share: float):
    config = Masking(video=share, video_kind=kind)
    for steps in (1, 2, 4, 7):
        mask = masking.video_mask(steps, (4, 4), config, np.random.default_rng(0))
        assert mask.shape == (steps * 16,)
        assert mask.sum() == masking.hidden_video(np.array([steps]), 16, config)[0]
        assert not mask.all()


@pytest.mark.parametrize("kind", ["unstructured", "time", "frequency", "time_frequency"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_audio_masks_hide_what_was_planned(kind: str, share: float):
    config = Masking(audio=share, audio_kind=kind)
    for steps in (1, 2, 12):
        mask = masking.audio_mask(steps, 8, config, np.random.default_rng(0))
        assert mask.sum() == masking.hidden_audio(np.array([steps]), 8, config)[0]
        assert not mask.all()


def test_shares_are_met():
    steps = np.array([4])
    assert masking.hidden_video(steps, 16, Masking(video=0.75)) == 48
    assert masking.hidden_video(steps, 16, Masking(video=0.5, video_kind="frame")) == 32
    assert masking.hidden_audio(steps, 8, Masking(audio=0.5, audio_kind="time")) == 16
    assert masking.hidden_audio(steps, 8, Masking(audio=0.8)) == 26


def test_masks_have_their_shapes():
    rng = np.random.default_rng(1)
    tube = masking.video_mask(4, (2, 8), Masking(video=0.5), rng).reshape(4, 16)
    assert (tube == tube[:1]).all()
    frame = masking.video_mask(4, (2, 8), Masking(video=0.5, video_kind="frame"), rng).reshape(4, 16)
    assert (frame == frame[:, :1]).all()
    time = masking.audio_mask(6, 8, Masking(audio=0.5, audio_kind="time"), rng).reshape(6, 8)
    assert (time == time[:, :1]).all()
    frequency = masking.audio_mask(6, 8, Masking(audio=0.5, audio_kind="frequency"), rng).reshape(6, 8)
    assert (frequency == frequency[:1]).all()
    free = masking.audio_mask(6, 8, Masking(audio=0.5), rng).reshape(6, 8)
    assert (free != free[:1]).any() and (free != free[:, :1]).any()


def test_every_token_is_hidden_as_often_as_any_other():
    config = Masking(video=0.25, video_kind="random")
    counts = sum(masking.video_mask(1, (4, 4), config, np.random.default_rng(seed)).astype(int) for seed in range(4000))
    # 1000 expected each; five standard deviations of a binomial are 137.
    assert abs(counts - 1000).max() < 137


def test_text_masks_hide_a_word_at_least():
    config = Masking(text=0.15)
    for words in range(0, 30):
        mask = masking.text_mask(words, config, np.random.default_rng(words))
        assert mask.sum() == masking.hidden_text(np.array([words]), config)[0]
        assert mask.sum() >= (words > 0)
    assert masking.text_mask(9, Masking(), np.random.default_rng(0)).sum() == 0
