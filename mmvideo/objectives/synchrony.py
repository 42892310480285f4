"""Audio-visual synchrony: classification of clips whose audio matches their video in time."""

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
    """Classification of clips as in time or with shifted audio (Owens and Efros 2018, section 3).

    Attributes:
      label: Kind of label of the corpus that is 1 in time and 0 out of time. None uses the clips whose audio the run
        itself has shifted (input.audio.misaligned).
      pooling: Pooling of the video and audio tokens at the top into one vector.
      weight: Weight of this objective in the total loss.
    """

    label: str | None = None
    pooling: Pooling = "mean"
    weight: float = 1.0
    kind: Literal["synchrony"] = "synchrony"

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> SynchronyHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run lacks a modality, or its fusion keeps video and audio apart.
        """
        require_modalities(spec, MEDIA, "synchrony")
        last = fusion_stages(model)[-1]
        # It is enough that one of the two sees the other.
        if not any(set(leaking_modalities(last, (name,), spec.modalities)) & set(MEDIA) for name in MEDIA):
            raise ValueError(
                f"synchrony: video and audio never meet with model.fusion.scheme {model.fusion.scheme!r}: choose "
                f"early, or mid with model.fusion.media_layer (or layer) below the depth {last.end}"
            )
        return SynchronyHeads(self.pooling, model, rngs=rngs)

    def loss(
        self, heads: SynchronyHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the binary cross entropy over the clips with video and audio, and with a known label if one is set.

        Metrics: `accuracy`; `chance`, the accuracy of the more frequent answer; `clips` that counted.

        Raises:
          ValueError: The stream has no such kind of label.
        """
        in_time, known = self.answers(stream)
        logits, present = heads(features, in_time.shape[1])
        counted = present & known
        loss = mean_where(binary_cross_entropy(logits, in_time), counted)
        # 3 of 4 clips in time: always answering "in time" is right for 0.75.
        share = mean_where(in_time.astype(jnp.float32), counted)
        return loss, {
            "accuracy": mean_where(((logits > 0) == in_time).astype(jnp.float32), counted),
            "chance": jnp.where(counted.any(), jnp.maximum(share, 1 - share), 0),
            "clips": counted.sum().astype(jnp.float32),
        }

    def answers(self, stream: TokenStream) -> tuple[Bool[Array, "B E"], Bool[Array, "B E"]]:
        """Return a mask of the clips in time, and a mask of the clips for which that is known."""
        if self.label is None:
            return jnp.asarray(stream.clips.aligned), jnp.ones(stream.clips.aligned.shape, jnp.bool_)
        known = stream.clips.labels
        if self.label not in known:
            kinds = ", ".join(sorted(known)) or "none"
            raise ValueError(f"synchrony.label {self.label!r} is not a kind of label of the corpus: it has {kinds}")
        label = jnp.asarray(known[self.label])
        # Unknown labels are negative, and any other class is no answer either.
        return label == 1, (label == 0) | (label == 1)


class SynchronyHeads(nnx.Module):
    """Pooling, layer norm and a linear map to the log-odds of being in time."""

    def __init__(self, pooling: str, model: ModelConfig, *, rngs: nnx.Rngs):
        self.pooler = make_pooler(pooling, model, rngs=rngs)
        self.head = LinearHead(feature_width(model), 1, rngs=rngs)

    def __call__(self, features: Features, slots: int) -> tuple[Float[Array, "B E"], Bool[Array, "B E"]]:
        """Return the log-odds, and a mask of the clips with video and audio."""
        pooled, present = self.pooler(features, len(features.taps) - 1, MEDIA, slots)
        return self.head(pooled)[..., 0], present
