"""The same run measured again with some modalities only, under names that say which."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.evaluators import evaluators
from mmvideo.input.pipeline import Batches
from mmvideo.stream import PADDING, Modality


def test_subsets_are_measured_beside_the_whole(tiny):
    wanted = dataclasses.replace(tiny.evaluation, tasks=("losses",), subsets=("video+text", "audio"))
    found = evaluators(dataclasses.replace(tiny, evaluation=wanted), Batches(tiny.input).assets())
    assert [one.name for one in found] == ["losses", "losses.video+text", "losses.audio"]
    assert [getattr(one, "modalities", None) for one in found] == [None, ("video", "text"), ("audio",)]
    for one, there in zip(found[1:], ({Modality.VIDEO, Modality.TEXT}, {Modality.AUDIO}), strict=True):
        assert set(np.unique(one.evaluator.batches.batch(0).layout.modality)) - {PADDING} == there


def test_a_subset_of_what_is_no_modality_is_told():
    with pytest.raises(ValueError, match=r"evaluation.subsets has 'video\+smell': name video, audio or text"):
        Evaluation(subsets=("video+smell",))
