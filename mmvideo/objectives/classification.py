"""Classification of clips by a kind of label, with one class or several classes a clip."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.features import Features
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.clip_head import ClipHeadConfig, PooledHeads
from mmvideo.objectives.losses.class_targets import class_targets
from mmvideo.objectives.losses.masked_mean import mean_where
from mmvideo.stream import StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class Classification(ClipHeadConfig):
    """Prediction of a label from the pooled features of some modalities.

    Several kinds of label (verb and noun) are several objectives.

    Attributes:
      label: Kind of label, by its name in the corpus.
      classes: Number of classes. None counts those of the training clips when a run starts.
      modalities: Modalities that the head may see. It pools their tokens at the deepest layer at which they have met no
        other modality. A fusion without such a layer is refused, unless `after_fusion` is set.
      smoothing: Share of the target that is spread over all classes.
      pooling: Pooling of tokens into one vector: their `mean`, the mean of the `class` tokens, or a learned query that
        attends to them (`map`; on a frozen backbone this is an attentive probe).
      require: Modalities that a clip must have to count: `all` of them, or `any` of them, so that one model classifies
        clips with and without audio. The label must be known in either case.
      weight: Weight of this objective in the total loss.
      form: Form of the loss: `softmax` for one class a clip, `sigmoid` for each class by itself (MBT, AST, AudioMAE). A
        kind of label with several classes a clip needs `sigmoid`.
      dropout: Dropout rate of the pooled features before the last linear map.
      init_scale: Scale of the initial weights of the last linear map; VideoMAE fine-tunes from 0.001.
      head_norm: Epsilon that the layer norm before the last linear map adds to the variance. None leaves the norm out
        (MBT, ViViT).
      after_fusion: True to pool after the last layer, where tokens depend on all modalities they have met. A head of
        video then also uses the audio of clips that have it.
    """

    label: str
    classes: int | None = None
    modalities: tuple[str, ...] = ("video", "audio")
    smoothing: float = 0.0
    pooling: Pooling = "mean"
    require: Literal["all", "any"] = "all"
    weight: float = 1.0
    form: Literal["softmax", "sigmoid"] = "softmax"
    dropout: float = 0.0
    init_scale: float = 1.0
    head_norm: float | None = 1e-6
    after_fusion: bool = False
    kind: Literal["classification"] = "classification"

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"classification.classes {self.classes} must be 2 or more")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"classification.smoothing {self.smoothing} must be in [0, 1)")
        self.check_pooled()

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> PooledHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: As for `pooled_heads`, or the number of classes is still unknown.
        """
        if self.classes is None:
            raise ValueError(
                f"classification.classes of label {self.label!r} is left to the corpus, but no corpus is open: name "
                "one (--input.sources.0.path CORPUS), or give the number"
            )
        return self.pooled_heads(self.classes, model, spec, rngs=rngs)

    def loss(
        self, heads: PooledHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the mean cross entropy over the clips that count and, for `sigmoid`, over their known classes.

        A target `y` is smoothed to `(1 - a) y + a / C` in both forms (Szegedy et al. 2016, section 7; MBT's code does
        so too with a sigmoid). The sigmoid form takes the mean over clips and classes alike, as AST and AudioMAE do;
        MBT sums over the classes, which is `classes` times as much.

        Metrics: `accuracy`, the target of the class with the largest logit, which is 1 if the clip has that class, and
        its share for a mixed clip; `clips` that counted; `foreign_labels`, the clips left out because their label is
        not below `classes`.

        Raises:
          ValueError: The stream has no such kind of label, or the form is softmax and a clip may have several classes.
        """
        if self.form == "softmax" and self.label in stream.clips.targets:
            raise ValueError(
                f"classification.form 'softmax' predicts one class a clip, but a clip may have several of "
                f"{self.label!r}: set form to sigmoid"
            )
        wanted = class_targets(stream.clips, self.label, self.classes)
        logits, present = heads(features, stream)
        # [B, E, C]: with several labels, some classes of a clip may be unknown, and only those are left out.
        counted = present[..., None] & wanted.known
        loss = self._cross_entropy(logits, optax.smooth_labels(wanted.value, self.smoothing), counted)
        # Target [0.7, 0, 0.3] of a mixed clip and class 2 predicted: the accuracy of this clip is 0.3.
        best = logits.argmax(axis=-1, keepdims=True)
        right, answered = (jnp.take_along_axis(array, best, axis=-1)[..., 0] for array in (wanted.value, counted))
        return loss, {
            "accuracy": mean_where(right, answered),
            "clips": counted.any(axis=-1).sum().astype(jnp.float32),
            "foreign_labels": (present & wanted.foreign).sum().astype(jnp.float32),
        }

    def predict(
        self, heads: PooledHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> dict[str, Array]:
        """Return `logits` `[B, E, C]`, and `known`, True if the clip has the modalities (its label may be unknown)."""
        logits, present = heads(features, stream)
        return {"logits": logits, "known": present}

    def _cross_entropy(
        self, logits: Float[Array, "B E C"], target: Float[Array, "B E C"], counted: Bool[Array, "B E C"]
    ) -> Float[Array, ""]:
        if self.form == "sigmoid":
            return mean_where(optax.sigmoid_binary_cross_entropy(logits, target), counted)
        # The softmax needs all classes of a clip, so a clip counts or does not; `counted` is the same for all its
        # classes.
        return mean_where(optax.softmax_cross_entropy(logits, target), counted.any(axis=-1))
