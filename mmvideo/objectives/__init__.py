"""Objectives of training: one file each, with a frozen dataclass of settings that is the objective.

An objective makes its parameters with `heads(model, spec, rngs=...)`. Its loss is `loss(heads, features, stream,
backbone)`, unweighted and with metrics; the backbone is an argument for objectives that run it again. An objective that
starts from a copy of the backbone (an averaged teacher) has `begin(heads, backbone)`, called once when the learner is
made. An objective that predicts for single clips has `predict(heads, features, stream, backbone)` (see
`learner.Learner.predict`). Every objective counts only the clips that have the modalities and labels it needs, and
returns 0 with a gradient of 0 if there are none. `learner.Learner` combines the objectives on one backbone.

Names are imported on first use: the settings of decoding need neither JAX nor Flax.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmvideo.objectives.captioning import Captioning as Captioning
    from mmvideo.objectives.classification import Classification as Classification
    from mmvideo.objectives.contrastive import Contrastive as Contrastive
    from mmvideo.objectives.distillation import Distillation as Distillation
    from mmvideo.objectives.kinds import AnyObjective as AnyObjective
    from mmvideo.objectives.latent import LatentPrediction as LatentPrediction
    from mmvideo.objectives.masked_patches import MaskedPatches as MaskedPatches
    from mmvideo.objectives.masked_text import MaskedText as MaskedText
    from mmvideo.objectives.matching import Matching as Matching
    from mmvideo.objectives.moments import Moments as Moments
    from mmvideo.objectives.regression import Regression as Regression
    from mmvideo.objectives.spans import ContrastiveSpans as ContrastiveSpans
    from mmvideo.objectives.synchrony import Synchrony as Synchrony

_HOMES = {
    "AnyObjective": "mmvideo.objectives.kinds",
    "Captioning": "mmvideo.objectives.captioning",
    "Classification": "mmvideo.objectives.classification",
    "Contrastive": "mmvideo.objectives.contrastive",
    "ContrastiveSpans": "mmvideo.objectives.spans",
    "Distillation": "mmvideo.objectives.distillation",
    "LatentPrediction": "mmvideo.objectives.latent",
    "MaskedPatches": "mmvideo.objectives.masked_patches",
    "MaskedText": "mmvideo.objectives.masked_text",
    "Matching": "mmvideo.objectives.matching",
    "Moments": "mmvideo.objectives.moments",
    "Regression": "mmvideo.objectives.regression",
    "Synchrony": "mmvideo.objectives.synchrony",
}
__all__ = [
    "AnyObjective",
    "Captioning",
    "Classification",
    "Contrastive",
    "ContrastiveSpans",
    "Distillation",
    "LatentPrediction",
    "MaskedPatches",
    "MaskedText",
    "Matching",
    "Moments",
    "Regression",
    "Synchrony",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmvideo.objectives' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
