"""Modalities that were never missing in training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mmvideo.datasets.corpus import SAMPLES, open_corpus
from mmvideo.experiment.config import Experiment

MEDIA = ("video", "audio")


def never_missing(experiment: Experiment, shown: tuple[str, ...]) -> tuple[str, ...]:
    """Return the media that are not shown, if training never showed a clip without them; else nothing.

    Clips without them come from modality dropout, from modality groups (`input.modality_dropout`), or from corpora in
    which some clips lack them. The result is empty if a corpus is not on this machine, since nothing is known about it.
    """
    lacking = [name for name in MEDIA if getattr(experiment.input, name) is not None and name not in shown]
    presence = experiment.input.modality_dropout
    # Groups "video-text" and "audio": for missing audio, the first group has none of it, so training did show such
    # clips.
    grouped = any(not set(re.split(r"[-+]", group)) & set(lacking) for group in presence.groups)
    if not lacking or grouped or all(presence.drop.get(name, 0) > 0 for name in lacking):
        return ()
    for source in experiment.input.sources:
        if not source.path.startswith(SAMPLES) and not Path(source.path).expanduser().exists():
            return ()
        table = open_corpus(source.path, source.split).table
        tracks = {"video": table.has_video, "audio": table.has_audio}
        # A clip that has none of the missing media is one that training showed without them.
        if (~np.any([np.asarray(tracks[name], bool) for name in lacking], axis=0)).any():
            return ()
    return tuple(lacking)
