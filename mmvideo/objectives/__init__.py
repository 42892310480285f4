"""What is learned: each objective is one file with a frozen dataclass of settings that is the objective.

An objective gives its parameters with `heads(model, spec, rngs=...)` and its loss with
`loss(heads, features, stream, backbone)`, unweighted, with metrics; the trunk is there for those that send
something through it again. One that begins with something of the trunk (a copy that averages it) has a
`begin(heads, backbone)`, called once when the learner is made; one that answers for single clips has a
`predict(heads, features, stream, backbone)` (see `learner.Learner.predict`). All count only the clips that have what
they need, and give 0 with a gradient of 0 where none has. `learner.Learner` puts them on one trunk.
"""

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
