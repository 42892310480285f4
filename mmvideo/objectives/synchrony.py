"""Audio-visual synchrony: whether the sound belongs to the picture in time."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.factory import feature_width, fusion_stages, make_pooler
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import leaking_modalities
from mmvideo.model.heads import LinearHead
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.requirements import require_modalities
from mmvideo.objectives.losses.masked_mean import binary_cross_entropy, mean_where
from mmvideo.stream import StreamSpec, TokenStream

MEDIA = ("video", "audio")


@dataclasses.dataclass(frozen=True)
class Synchrony:
    """Tells clips in time from clips whose sound is shifted (Owens and Efros 2018, section 3).

    Attributes:
      label: a kind of label of the corpus that tells it, 1 in time and 0 out of time; None takes the
        clips whose sound the run itself has shifted (input.audio.misaligned).
      pooling: how the tokens of picture and sound at the top become one vector.
      weight: of this objective in the total loss.
    """

    label: str | None = None
    pooling: Pooling = "mean"
    weight: float = 1.0
    kind: Literal["synchrony"] = "synchrony"

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> SynchronyHeads:
        """New heads.

        Raises:
          ValueError: the run lacks a modality, or its fusion keeps picture and sound apart.
        """
        require_modalities(spec, MEDIA, "synchrony")
        last = fusion_stages(model)[-1]
        if not any(set(leaking_modalities(last, (name,), spec.modalities)) & set(MEDIA) for name in MEDIA):
            raise ValueError(
                f"synchrony: picture and sound never meet with model.fusion.scheme {model.fusion.scheme!r}: choose "
                f"early, or mid with model.fusion.media_layer (or layer) below the depth {last.end}"
            )
        return SynchronyHeads(self.pooling, model, rngs=rngs)

    def loss(
        self, heads: SynchronyHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Binary cross entropy over the clips that have picture and sound, and a label where one is asked for.

        Metrics: `accuracy`; `chance`, the accuracy of giving all clips the more frequent answer; `clips` that counted.

        Raises:
          ValueError: the stream has no such kind of label.
        """
        in_time, known = self.answers(stream)
        logits, present = heads(features, in_time.shape[1])
        counted = present & known
        loss = mean_where(binary_cross_entropy(logits, in_time), counted)
        share = mean_where(in_time.astype(jnp.float32), counted)
        return loss, {
            "accuracy": mean_where(((logits > 0) == in_time).astype(jnp.float32), counted),
            "chance": jnp.where(counted.any(), jnp.maximum(share, 1 - share), 0),
            "clips": counted.sum().astype(jnp.float32),
        }

    def answers(self, stream: TokenStream) -> tuple[Bool[Array, "B E"], Bool[Array, "B E"]]:
        """Which clips are in time, and of which that is known."""
        if self.label is None:
            return jnp.asarray(stream.clips.aligned), jnp.ones(stream.clips.aligned.shape, jnp.bool_)
        known = stream.clips.labels
        if self.label not in known:
            kinds = ", ".join(sorted(known)) or "none"
            raise ValueError(f"synchrony.label {self.label!r} is not a kind of label of the corpus: it has {kinds}")
        label = jnp.asarray(known[self.label])
        return label == 1, (label == 0) | (label == 1)


class SynchronyHeads(nnx.Module):
    """Pooling, layer norm and one number: the log-odds of being in time."""

    def __init__(self, pooling: str, model: ModelConfig, *, rngs: nnx.Rngs):
        self.pooler = make_pooler(pooling, model, rngs=rngs)
        self.head = LinearHead(feature_width(model), 1, rngs=rngs)

    def __call__(self, features: Features, slots: int) -> tuple[Float[Array, "B E"], Bool[Array, "B E"]]:
        """Log-odds, and which clips have picture and sound."""
        pooled, present = self.pooler(features, len(features.taps) - 1, MEDIA, slots)
        return self.head(pooled)[..., 0], present
