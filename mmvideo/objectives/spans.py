"""Contrastive spans: each hidden patch of a clip is found among those of the batch, from its context."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.config import Model, decoder_dims
from mmvideo.model.factory import feature_width
from mmvideo.model.features import Features
from mmvideo.model.fusion.unmask import unmask_batch
from mmvideo.model.heads import ProjectionHead
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.layers.basic import parameter
from mmvideo.model.transformer.decoder import MaskedDecoder
from mmvideo.objectives.components.patch_weights import PatchObjective
from mmvideo.objectives.components.requirements import has_unfused_features, require_targets
from mmvideo.objectives.losses.contrastive_losses import chance_loss, retrieval_accuracy, softmax_contrastive
from mmvideo.objectives.losses.masked_mean import clips_with, gather_target_features, gather_targets, stream_rows
from mmvideo.objectives.losses.temperature import LARGEST_SCALE, bounded_exp
from mmvideo.stream import PADDING, StreamSpec, TokenStream

Sides = dict[str, tuple[Float[Array, "B M d"], Float[Array, "B M d"], Bool[Array, "B M"]]]


@dataclasses.dataclass(frozen=True)
class ContrastiveSpans(PatchObjective):
    """Contrastive matching of hidden patches to their context (MERLOT Reserve, Zellers et al. 2022, section 3.3).

    The decoder predicts a vector for each hidden patch from the visible video, audio and text of the clip. Its partner
    is the backbone's feature of that patch in the unmasked clip, before its modality meets another. All other hidden
    patches of the batch are negatives, those of the same clip included, and both directions count (their equation 1). A
    patch should be a whole span: set audio patches to about a second and to the full number of mel bins.

    MERLOT Reserve encodes each span by itself; here the feature of a span also depends on the rest of its own modality.
    It hides spans of text in the same way; here `masked_text` predicts hidden text tokens.

    Attributes:
      weight: Weight of this objective in the total loss.
      video: Weight of video within the objective; 0 leaves it out. A modality that the run does not have is left out in
        any case.
      audio: Weight of audio within the objective, likewise.
      width: Number of elements of an embedding.
      temperature: Initial temperature. One is learned for each modality, and its scale stays at or below 100.
      chunk: Number of patches that all others are compared with at a time. None compares all at once.
    """

    weight: float = 1.0
    video: float = 0.0
    audio: float = 1.0
    width: int = 128
    temperature: float = 0.07
    chunk: int | None = None
    kind: Literal["contrastive_spans"] = "contrastive_spans"

    def __post_init__(self) -> None:
        self.check_weights()
        if self.temperature < 1 / LARGEST_SCALE:
            raise ValueError(f"contrastive_spans.temperature {self.temperature} must be {1 / LARGEST_SCALE} or more")
        if self.width < 1:
            raise ValueError(f"contrastive_spans.width {self.width} must be 1 or more")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"contrastive_spans.chunk {self.chunk} must be 1 or more, or None")

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> SpanHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run has neither modality, the model keeps no tokens of them, or the fusion has no layer at
            which one of them has met no other modality.
        """
        self.require_patches(model, spec)
        for name in self.modalities(spec):
            if not has_unfused_features(model, spec, (name,)):
                raise ValueError(
                    f"contrastive_spans uses {name} from before it meets other modalities, but "
                    f"model.fusion.scheme {model.fusion.scheme!r} mixes them from the first layer: choose mid with "
                    "model.fusion.layer (and media_layer) of 1 or more"
                )
        return SpanHeads(self, model, spec, rngs=rngs)

    def sides(self, heads: SpanHeads, features: Features, stream: TokenStream, backbone: nnx.Module) -> Sides:
        """Return, by modality, the unit vectors of predictions and of partners, and a mask of hidden patches.

        Raises:
          ValueError: No patches of a wanted modality are ever hidden.
        """
        answers = heads(features, stream)
        full = unmask_batch(stream)
        # A second pass without masks. It has a gradient too: the partner's encoder is trained by this loss.
        whole = backbone(full)
        found = {}
        for name, answer in answers.items():
            place = full.targets[name].target_index
            # The partner is taken before fusion: after it, the feature could be predicted from the context alone, even
            # without the patch.
            partner = gather_targets(whole.tokens((name,)), gather_target_features(whole, place))
            found[name] = answer, heads.partners[name](partner), place != PADDING
        return found

    def loss(
        self, heads: SpanHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the cross entropy of finding each patch by its prediction and each prediction by its patch, weighted.

        Metrics of each modality: `loss`; `chance_loss`, the loss of guessing among as many patches; `accuracy`;
        `tokens` and `clips` that counted; `temperature`.
        """
        total = jnp.float32(0)
        metrics = {}
        for name, (answer, partner, hidden) in self.sides(heads, features, stream, backbone).items():
            # All hidden patches of all rows are one list: 4 rows of 10 slots are 40 candidates, of which `valid` counts
            # the real ones.
            a = answer.reshape(-1, self.width)
            b = partner.reshape(-1, self.width)
            valid = hidden.reshape(-1)
            scale = bounded_exp(heads.log_scale[name][...])
            loss = softmax_contrastive(a, b, valid, scale, chunk=self.chunk)
            metrics |= {
                f"{name}/loss": loss,
                f"{name}/chance_loss": chance_loss(valid, "softmax"),
                f"{name}/accuracy": retrieval_accuracy(a, b, valid, chunk=self.chunk),
                f"{name}/tokens": valid.sum().astype(jnp.float32),
                f"{name}/clips": clips_with(stream.targets[name].clip, stream.clips.clip_index.shape[1]),
                f"{name}/temperature": 1 / scale,
            }
            total += getattr(self, name) * loss
        return total, metrics


class SpanHeads(nnx.Module):
    """The decoder, and for each modality a projection of predictions, a projection of partners, and a temperature."""

    def __init__(self, config: ContrastiveSpans, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.names = config.modalities(spec)
        narrow = decoder_dims(model).width
        wide = feature_width(model)
        self.decoder = MaskedDecoder(model, spec, rngs=rngs)
        self.answers = nnx.Dict({name: ProjectionHead(narrow, config.width, rngs=rngs) for name in self.names})
        self.partners = nnx.Dict({name: ProjectionHead(wide, config.width, rngs=rngs) for name in self.names})
        start = -math.log(config.temperature)
        self.log_scale = nnx.Dict({name: parameter(jnp.float32(start)) for name in self.names})

    def __call__(self, features: Features, stream: TokenStream) -> dict[str, Float[Array, "B M d"]]:
        """Return the unit prediction for each hidden patch; the values of empty slots are meaningless."""
        targets = {name: require_targets(stream, name, "contrastive_spans") for name in self.names}
        decoded = self.decoder(stream_rows(features), stream, features.classes[-1])
        return {name: self.answers[name](gather_targets(decoded, targets[name].target_index)) for name in self.names}
