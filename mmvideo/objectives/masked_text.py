"""Masked prediction of text from the visible text and from the video and audio."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.factory import feature_width
from mmvideo.model.features import Features
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.layers.basic import Linear
from mmvideo.objectives.components.requirements import require_modalities, require_targets, require_tokens
from mmvideo.objectives.losses.masked_mean import clips_with, gather_target_features, gather_targets, mean_where
from mmvideo.stream import PADDING, StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class MaskedText:
    """Prediction of the text tokens that the mask token has replaced (BERT, Devlin et al. 2019, section 3.1).

    Attributes:
      weight: Weight of this objective in the total loss.
    """

    weight: float = 1.0
    kind: Literal["masked_text"] = "masked_text"

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> MaskedTextHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run has no text, or the model keeps no tokens of it.
        """
        require_modalities(spec, ("text",), "masked_text")
        require_tokens(model, ("text",), "masked_text")
        return MaskedTextHeads(feature_width(model), spec.text.vocabulary, rngs=rngs)

    def loss(
        self, heads: MaskedTextHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the cross entropy over the hidden tokens, with `accuracy`, and the `tokens` and `clips` that counted.

        Raises:
          ValueError: Text is never hidden.
        """
        targets = require_targets(stream, "text", "masked_text")
        place = gather_target_features(features, targets.target_index)
        hidden = place != PADDING
        logits = heads.logits(gather_targets(features.top, place))
        # Empty slots hold PADDING (-1), which is no class; `hidden` leaves them out of the mean.
        text_tokens = jnp.maximum(targets.content, 0)
        loss = mean_where(optax.softmax_cross_entropy_with_integer_labels(logits, text_tokens), hidden)
        right = (logits.argmax(axis=-1) == text_tokens).astype(jnp.float32)
        return loss, {
            "accuracy": mean_where(right, hidden),
            "tokens": hidden.sum().astype(jnp.float32),
            "clips": clips_with(targets.clip, stream.clips.clip_index.shape[1]),
        }


class MaskedTextHeads(nnx.Module):
    """A linear map from the top features to the vocabulary."""

    def __init__(self, width: int, vocabulary: int, *, rngs: nnx.Rngs):
        self.logits = Linear(width, vocabulary, axes=("embed", "vocab"), rngs=rngs)
