"""Union of all objectives, distinguished by their field `kind`."""

from __future__ import annotations

from typing import Annotated

from mmvideo.model.kinds import Discriminated
from mmvideo.objectives.captioning import Captioning
from mmvideo.objectives.classification import Classification
from mmvideo.objectives.contrastive import Contrastive
from mmvideo.objectives.distillation import Distillation
from mmvideo.objectives.latent import LatentPrediction
from mmvideo.objectives.masked_patches import MaskedPatches
from mmvideo.objectives.masked_text import MaskedText
from mmvideo.objectives.matching import Matching
from mmvideo.objectives.moments import Moments
from mmvideo.objectives.regression import Regression
from mmvideo.objectives.spans import ContrastiveSpans
from mmvideo.objectives.synchrony import Synchrony

AnyObjective = Annotated[
    Contrastive
    | MaskedPatches
    | MaskedText
    | Captioning
    | Matching
    | LatentPrediction
    | Synchrony
    | ContrastiveSpans
    | Distillation
    | Classification
    | Regression
    | Moments,
    Discriminated(),
]
"""Any of the objectives."""
