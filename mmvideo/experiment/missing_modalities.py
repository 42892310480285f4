"""Modalities that a run has never been trained without."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mmvideo.datasets.corpus import SAMPLES, open_corpus
from mmvideo.experiment.config import Experiment

MEDIA = ("video", "audio")


def never_missing(experiment: Experiment, shown: tuple[str, ...]) -> tuple[str, ...]:
    """The media that are not shown, if no clip of the training was ever shown without them; else none.

    Clips without them come from modality dropout, from groups (`input.modality_dropout`), or from corpora in which some
    clips lack them. Of corpora that aren't on this machine nothing is said.
    """
    lacking = [name for name in MEDIA if getattr(experiment.input, name) is not None and name not in shown]
    presence = experiment.input.modality_dropout
    grouped = any(not set(re.split(r"[-+]", group)) & set(lacking) for group in presence.groups)
    if not lacking or grouped or all(presence.drop.get(name, 0) > 0 for name in lacking):
        return ()
    for source in experiment.input.sources:
        if not source.path.startswith(SAMPLES) and not Path(source.path).expanduser().exists():
            return ()
        table = open_corpus(source.path, source.split).table
        tracks = {"video": table.has_video, "audio": table.has_audio}
        if (~np.any([np.asarray(tracks[name], bool) for name in lacking], axis=0)).any():
            return ()
    return tuple(lacking)
