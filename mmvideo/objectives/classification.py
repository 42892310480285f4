"""Classification of clips by a kind of label, of which a clip has one class or several."""

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
    """Predicts a label from the pooled features of some modalities.

    Several kinds of label (verb and noun) are several objectives.

    Attributes:
      label: kind of label, as the corpus names it.
      classes: how many classes it has; None asks the training clips when a run begins.
      modalities: all that the head may know of: it pools their tokens at the deepest layer at which they have met
        no other modality. A fusion without such a layer is refused, unless `after_fusion`.
      smoothing: share of the target that is spread over all classes.
      pooling: how tokens become one vector: their `mean`, the mean of the `class` tokens, or by a
        learned query that attends to them (`map`; on a frozen trunk this is an attentive probe).
      require: whether a clip counts only if it has `all` of the modalities, or `any` of them, so that one
        model classifies clips with and without sound. Its label must be known in any case.
      weight: of this objective in the total loss.
      form: `softmax` lets the classes compete for one clip, `sigmoid` asks for each by itself (MBT, AST,
        AudioMAE); a kind of label of which a clip may have several classes needs it.
      dropout: share of the pooled numbers that training sets to 0 before the last map.
      init_scale: of the first weights of the last map; VideoMAE fine-tunes from 0.001.
      head_norm: added to the variance in the layer norm before the last map; None: there is no norm (MBT, ViViT).
      after_fusion: whether the tokens are pooled after the last layer, where they know of all that they have met:
        a head of video then hears the audio wherever a clip has it.
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
        """New heads; raises ValueError as `pooled_heads` does, and where nobody has counted the classes."""
        if self.classes is None:
            raise ValueError(
                f"classification.classes of label {self.label!r} is left to the corpus, which nobody has asked: open "
                "one (--input.sources.0.path CORPUS), or give the number"
            )
        return self.pooled_heads(self.classes, model, spec, rngs=rngs)

    def loss(
        self, heads: PooledHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Cross entropy over the clips that count, or the mean of the binary ones over their classes that are known.

        A target `y` is smoothed to `(1 - a) y + a / C` in both forms (Szegedy et al. 2016, section 7; MBT's
        code does so too with a sigmoid). The sigmoid form takes the mean over clips and classes alike, as
        AST and AudioMAE do; MBT sums over the classes, which is `classes` times as much.

        Metrics: `accuracy`, the target of the class with the largest logit: 1 if the clip has it, of a mixed
        clip its share; `clips` that counted; and `foreign_labels`: clips left out because their label is not
        below `classes`.

        Raises:
          ValueError: the stream has no such kind of label, or softmax is to tell several classes of a clip.
        """
        if self.form == "softmax" and self.label in stream.clips.targets:
            raise ValueError(
                f"classification.form 'softmax' tells one class a clip, and of {self.label!r} a clip may have several: "
                "set form to sigmoid"
            )
        wanted = class_targets(stream.clips, self.label, self.classes)
        logits, present = heads(features, stream)
        counted = present[..., None] & wanted.known
        loss = self._cross_entropy(logits, optax.smooth_labels(wanted.value, self.smoothing), counted)
        best = logits.argmax(axis=-1, keepdims=True)
        right, told = (jnp.take_along_axis(array, best, axis=-1)[..., 0] for array in (wanted.value, counted))
        return loss, {
            "accuracy": mean_where(right, told),
            "clips": counted.any(axis=-1).sum().astype(jnp.float32),
            "foreign_labels": (present & wanted.foreign).sum().astype(jnp.float32),
        }

    def predict(
        self, heads: PooledHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> dict[str, Array]:
        """`logits` `[B, E, C]`, and `known`: whether the clip has the modalities; its label may be unknown."""
        logits, present = heads(features, stream)
        return {"logits": logits, "known": present}

    def _cross_entropy(
        self, logits: Float[Array, "B E C"], target: Float[Array, "B E C"], counted: Bool[Array, "B E C"]
    ) -> Float[Array, ""]:
        if self.form == "sigmoid":
            return mean_where(optax.sigmoid_binary_cross_entropy(logits, target), counted)
        return mean_where(optax.softmax_cross_entropy(logits, target), counted.any(axis=-1))
