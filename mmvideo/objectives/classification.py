"""Classification of clips by a kind of label."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.features import Features
from mmvideo.model.heads import LinearHead
from mmvideo.model.kinds import AnyModel
from mmvideo.model.pool import Pooler
from mmvideo.model.trunk import feature_heads, feature_width
from mmvideo.objectives.counting import mean_where
from mmvideo.objectives.needs import require_modalities
from mmvideo.stream import MODALITIES, StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class Classification:
    """Predicts a label from the pooled features at the top.

    Attributes:
      label: kind of label, as the corpus names it.
      classes: how many classes it has.
      modalities: whose tokens are pooled.
      require: whether a clip counts only if it has `all` of the modalities, or `any` of them, so that one
        model classifies clips with and without sound. Its label must be known in any case.
      smoothing: share of the target that is spread over all classes.
      pooling: how tokens become one vector: their `mean`, the mean of the `class` tokens, or by a
        learned query that attends to them (`map`).
      weight: of this objective in the total loss.
    """

    label: str
    classes: int
    modalities: tuple[str, ...] = ("video", "audio")
    smoothing: float = 0.0
    pooling: Literal["mean", "class", "map"] = "mean"
    require: Literal["all", "any"] = "all"
    weight: float = 1.0
    kind: Literal["classification"] = "classification"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"classification.classes {self.classes} must be 2 or more")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"classification.smoothing {self.smoothing} must be in [0, 1)")
        if not self.modalities or not set(self.modalities) <= set(MODALITIES):
            raise ValueError(f"classification.modalities {self.modalities} must name some of {', '.join(MODALITIES)}")

    def heads(self, model: AnyModel, spec: StreamSpec, *, rngs: nnx.Rngs) -> ClassificationHeads:
        """New heads; raises ValueError if the run lacks a modality."""
        require_modalities(spec, self.modalities, "classification")
        return ClassificationHeads(self, model, rngs=rngs)

    def loss(
        self, heads: ClassificationHeads, features: Features, stream: TokenStream, trunk: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Cross entropy over the clips that count.

        Metrics: accuracy, `clips` that counted, and `foreign_labels`: clips left out because
        their label is not below `classes`.

        Raises:
          ValueError: the stream has no such kind of label.
        """
        known = stream.clips.labels
        if self.label not in known:
            kinds = ", ".join(sorted(known)) or "none"
            raise ValueError(
                f"classification.label {self.label!r} is not a kind of label of the corpus: it has {kinds}"
            )
        label = known[self.label]
        pooled, present = heads.pooler(features, len(features.taps) - 1, self.modalities, label.shape[1])
        logits = heads.logits(pooled)
        if self.require == "any":
            present = stream.clips.present[..., [MODALITIES.index(name) for name in self.modalities]].any(axis=-1)
        counted = present & (label >= 0) & (label < self.classes)
        target = optax.smooth_labels(jnp.eye(self.classes)[jnp.clip(label, 0, self.classes - 1)], self.smoothing)
        loss = mean_where(optax.softmax_cross_entropy(logits, target), counted)
        right = (logits.argmax(axis=-1) == label).astype(jnp.float32)
        return loss, {
            "accuracy": mean_where(right, counted),
            "clips": counted.sum().astype(jnp.float32),
            "foreign_labels": (present & (label >= self.classes)).sum().astype(jnp.float32),
        }


class ClassificationHeads(nnx.Module):
    """A pooler and a linear map to the classes."""

    def __init__(self, config: Classification, model: AnyModel, *, rngs: nnx.Rngs):
        width = feature_width(model)
        self.pooler = Pooler(config.pooling, width, feature_heads(model), rngs=rngs)
        self.logits = LinearHead(width, config.classes, rngs=rngs)
