"""The length of a run and the views of its evaluation, from the number and size of clips."""

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
"""Epochs of a small corpus, and of a large one."""

SMALL = 100
"""Number of clips up to which a run has `MANY` epochs; above, epochs fall with the square root of the number."""

LEAST = 150
"""Smallest number of steps."""

WIDE = 1.4
"""Aspect ratio from which on three crops are evaluated: both ends and the middle."""

STRETCHES = 4
"""Largest number of temporal views of a long clip."""


def choose_steps(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Choice:
    """Choose `training.steps`: 40 epochs of up to 100 clips, 10 of 1,600 or more."""
    usable = int((corpus.has_video | corpus.has_audio).sum())
    # 100 clips: 40 * sqrt(100 / 100) = 40; 400 clips: 20; 1,600 clips and more: 10.
    epochs = min(max(MANY * math.sqrt(SMALL / max(usable, 1)), FEW), MANY)
    batch = experiment.input.packing.rows * clips_of_a_row(Situation(experiment.input, corpus, given))
    steps = max(math.ceil(usable * epochs / batch / 10) * 10, LEAST)
    return Choice(steps, f"{steps * batch / max(usable, 1):.0f} epochs of {usable:,} clips, about {batch:.0f} a step")


def choose_warmup(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Choice:
    """Choose `training.optimizer.warmup`: a tenth of the steps."""
    return Choice(max(experiment.training.steps // 10, 1), "a tenth of the steps")


def choose_views(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Choice | None:
    """Choose `evaluation.views`: several temporal views of clips longer than a view, and three crops of wide frames."""
    video, seconds = experiment.input.video, view_seconds(corpus)
    middle = float(np.median(corpus.seconds[corpus.has_video | corpus.has_audio]))
    # A quarter of a view is forgiven: 2.2 views long gives ceil(1.95) = 2 views, 2.3 gives ceil(2.05) = 3.
    clips = min(math.ceil(middle / seconds - 0.25), STRETCHES) if middle > seconds else 1
    crops, why = 1, f"half of the clips last {middle:.3g} s or less"
    if video is not None and corpus.has_video.any():
        sides = np.stack([corpus.width, corpus.height])[:, corpus.has_video]
        aspect = float(np.median(sides.max(axis=0) / np.maximum(sides.min(axis=0), 1)))
        crops = 3 if aspect >= WIDE else 1
        why += f", sides are as {aspect:.3g} to 1"
    return Choice(Views(clips=max(clips, 1), crops=crops), why)
