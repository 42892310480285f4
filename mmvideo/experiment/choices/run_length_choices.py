"""Length of a run and views of its evaluation, from the number of clips and their size."""

from __future__ import annotations

import math

import numpy as np

from mmvideo.experiment.config import Experiment
from mmvideo.input.advice.choice import Choice, Situation
from mmvideo.input.advice.row_budget import clips_of_a_row
from mmvideo.input.advice.view_length import view_seconds
from mmvideo.input.config import Views
from mmvideo.input.mixture import CorpusMixture

MANY, FEW = 40, 10
"""Epochs of a small corpus and of a large one."""

SMALL = 100
"""Clips up to which each is seen `MANY` times; from there on the number of epochs falls as their root."""

LEAST = 150
"""Steps that a run has at least."""

WIDE = 1.4
"""Ratio of the sides from which on squares are cut from both ends and the middle."""

STRETCHES = 4
"""Stretches of time at most that are looked at of a long clip."""


def choose_steps(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Choice:
    """Choose `training.steps`: 40 epochs of up to 100 clips, 10 of 10,000 or more."""
    usable = int((corpus.has_video | corpus.has_audio).sum())
    epochs = min(max(MANY * math.sqrt(SMALL / max(usable, 1)), FEW), MANY)
    batch = experiment.input.packing.rows * clips_of_a_row(Situation(experiment.input, corpus, given))
    steps = max(math.ceil(usable * epochs / batch / 10) * 10, LEAST)
    return Choice(steps, f"{steps * batch / max(usable, 1):.0f} epochs of {usable:,} clips, about {batch:.0f} a step")


def choose_warmup(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Choice:
    """Choose `training.optimizer.warmup`: a tenth of the steps."""
    return Choice(max(experiment.training.steps // 10, 1), "a tenth of the steps")


def choose_views(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Choice | None:
    """Choose `evaluation.views`: stretches of clips longer than a view, and three squares of wide frames."""
    video, seconds = experiment.input.video, view_seconds(corpus)
    middle = float(np.median(corpus.seconds[corpus.has_video | corpus.has_audio]))
    clips = min(math.ceil(middle / seconds - 0.25), STRETCHES) if middle > seconds else 1
    crops, why = 1, f"half of the clips last {middle:.3g} s or less"
    if video is not None and corpus.has_video.any():
        sides = np.stack([corpus.width, corpus.height])[:, corpus.has_video]
        aspect = float(np.median(sides.max(axis=0) / np.maximum(sides.min(axis=0), 1)))
        crops = 3 if aspect >= WIDE else 1
        why += f", sides are as {aspect:.3g} to 1"
    return Choice(Views(clips=max(clips, 1), crops=crops), why)
