"""Shown modalities: dropped at their rates but for the last, and drawn from the groups that a clip can serve."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmvideo.input.config import ModalityDropout
from mmvideo.input.planning.modality_dropout import DRAWS, members, shown

EVERY = np.array(list(itertools.product([False, True], repeat=3)))


def _many(has: list[bool], presence: ModalityDropout, count: int = 20000) -> np.ndarray:
    return shown(np.tile(has, (count, 1)), presence, np.random.default_rng(0).random((count, DRAWS)))


def test_the_last_modality_is_never_dropped_and_none_appears():
    presence = ModalityDropout(drop={"video": 0.9, "audio": 1.0, "text": 0.99})
    for has in EVERY:
        left = _many(has.tolist(), presence, 500)
        assert not (left & ~has).any()
        assert (left.any(axis=1) == has.any()).all()


def test_modalities_are_dropped_independently_at_their_rates():
    left = _many([True, True, True], ModalityDropout(drop={"video": 0.3, "audio": 0.5}))
    # Five standard deviations of a share of 20000.
    assert abs(left.mean(axis=0) - [0.7, 0.5, 1.0]).max() < 0.018
    assert abs((left[:, 0] & left[:, 1]).mean() - 0.35) < 0.018


def test_the_one_that_stays_is_any_with_the_same_chance():
    left = _many([True, True, False], ModalityDropout(drop={"video": 0.5, "audio": 0.8}))
    both, neither = 0.5 * 0.2, 0.5 * 0.8
    assert abs(left.all(axis=1).mean()) == 0
    assert abs((left[:, 0] & left[:, 1]).mean() - both) < 0.018
    assert abs((left[:, 0] & ~left[:, 1]).mean() - (0.5 * 0.8 + neither / 2)) < 0.018


def test_groups_are_drawn_by_weight_among_those_that_a_clip_can_serve():
    presence = ModalityDropout(groups=("text-video", "text-audio", "text-video+audio"), weights=(1.0, 1.0, 2.0))
    assert members(presence.groups).tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    left = _many([True, True, True], presence)
    kinds, counts = np.unique(left, axis=0, return_counts=True)
    shares = {tuple(kind): count / 20000 for kind, count in zip(kinds.tolist(), counts, strict=True)}
    assert len(shares) == 3
    assert abs(shares[True, True, True] - 0.5) < 0.018 and abs(shares[True, False, True] - 0.25) < 0.016
    assert (_many([True, False, True], presence, 100) == [True, False, True]).all()
    # A clip that can serve no group stays as it is.
    assert (_many([True, True, False], presence, 100) == [True, True, False]).all()


def test_rounding_never_draws_a_group_that_a_clip_cannot_serve():
    presence = ModalityDropout(groups=("video", "audio"), weights=(0.1, 0.2))
    uniform = np.full((1, DRAWS), np.nextafter(1.0, 0.0))
    assert shown(np.array([[True, False, False]]), presence, uniform).tolist() == [[True, False, False]]


def test_a_name_that_is_no_modality_is_told():
    with pytest.raises(ValueError, match=r"names 'text-smell', but 'smell' is none of video, audio, text"):
        members(("text-smell",))
