"""Prediction in the space of features: of hidden patches, what a slow copy of the trunk makes of the whole clip."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.config import Decoder, Model, decoder_dims
from mmvideo.model.factory import feature_width
from mmvideo.model.features import Features
from mmvideo.model.fusion.unmask import unmask_batch
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.layers.basic import EPSILON, Linear
from mmvideo.model.transformer.decoder import MaskedDecoder
from mmvideo.objectives.components.patch_weights import PatchObjective
from mmvideo.objectives.components.requirements import require_targets
from mmvideo.objectives.components.teacher import Average, Teacher
from mmvideo.objectives.losses.masked_mean import (
    clips_with,
    gather_target_features,
    gather_targets,
    mean_where,
    stream_rows,
)
from mmvideo.stream import PADDING, StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class LatentPrediction(PatchObjective):
    """Predicts the features of hidden patches that an averaged teacher has of the unmasked clip (V-JEPA).

    The teacher is the exponential moving average of the trunk's parameters; its features at the top
    are normalised over their width, and the loss is their L1 distance from the predictor's answer
    (Bardes et al. 2024, section 3.1 and 3.2).

    Attributes:
      weight: of this objective in the total loss.
      video: weight of video within the objective; 0 leaves it out. A modality that the run does
        not have is left out by itself.
      audio: the same for the spectrogram.
      predictor: the transformer that answers, in place of `model.decoder`; V-JEPA has 12 layers of width 384.
      decay: what the teacher keeps of itself in a step.
      last_decay: to which `decay` goes in a straight line within the first `ramp` steps; None keeps it.
      ramp: how many steps that takes.
    """

    weight: float = 1.0
    video: float = 1.0
    audio: float = 1.0
    predictor: Decoder = Decoder(depth=2, width=96, heads=4, sees="clip")
    decay: float = 0.998
    last_decay: float | None = None
    ramp: int = 0
    kind: Literal["latent_prediction"] = "latent_prediction"

    def __post_init__(self) -> None:
        self.check_weights()
        for name, decay in (("decay", self.decay), ("last_decay", self.last_decay)):
            if decay is not None and not 0 <= decay <= 1:
                raise ValueError(f"latent_prediction.{name} {decay} must be in [0, 1]")
        if (self.last_decay is None) != (self.ramp == 0) or self.ramp < 0:
            raise ValueError(
                f"latent_prediction.last_decay {self.last_decay} and .ramp {self.ramp} belong together: "
                "give both, the ramp in steps, or neither"
            )

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> LatentHeads:
        """New heads, still without a teacher (see `begin`).

        Raises:
          ValueError: the run has neither of the modalities to predict, or the model keeps no tokens of them.
        """
        self.require_patches(model, spec)
        return LatentHeads(self, model, spec, rngs=rngs)

    def begin(self, heads: LatentHeads, backbone: nnx.Module) -> None:
        """Makes the trunk, as it is, the first teacher."""
        heads.teacher = Teacher(backbone)

    def loss(
        self, heads: LatentHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Absolute error over the hidden tokens, the weighted sum over modalities; in training the teacher moves first.

        Metrics of each modality: `loss`; `mean_loss`, the loss on the same tokens of answering each
        with their mean, which goes to 0 where the features collapse; `tokens` and `clips` that
        counted. And the teacher's `decay`.

        Raises:
          ValueError: nothing of a wanted modality is ever hidden.
        """
        answers = heads(features, stream)
        decay = heads.follow(backbone)
        full = unmask_batch(stream)
        wanted = heads.teacher(backbone, full)
        total, metrics = jnp.float32(0), {"decay": decay}
        for name, answer in answers.items():
            place = gather_target_features(wanted, full.targets[name].target_index)
            target, hidden = standardise(gather_targets(wanted.top, place)), place != PADDING
            loss = l1_where(answer, target, hidden)
            mean = jnp.where(hidden[..., None], target, 0).sum((0, 1)) / jnp.maximum(hidden.sum(), 1)
            metrics[f"{name}/loss"] = loss
            metrics[f"{name}/mean_loss"] = l1_where(mean, target, hidden)
            metrics[f"{name}/tokens"] = hidden.sum().astype(jnp.float32)
            metrics[f"{name}/clips"] = clips_with(stream.targets[name].clip, stream.clips.clip_index.shape[1])
            total += getattr(self, name) * loss
        return total, metrics


class LatentHeads(nnx.Module):
    """The predictor, one linear map a modality to the trunk's width, and the teacher, which `begin` makes."""

    teacher: Teacher

    def __init__(self, config: LatentPrediction, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.config = config
        self.names = config.modalities(spec)
        self.deterministic = False
        model = dataclasses.replace(model, decoder=config.predictor)
        self.predictor = MaskedDecoder(model, spec, rngs=rngs)
        narrow, wide = decoder_dims(model).width, feature_width(model)
        self.answers = nnx.Dict({name: Linear(narrow, wide, axes=("out", "embed"), rngs=rngs) for name in self.names})
        self.steps = Average(jnp.zeros((), jnp.int32))

    def __call__(self, features: Features, stream: TokenStream) -> dict[str, Float[Array, "B M D"]]:
        """The answer for each hidden patch, float32; what stands in empty slots means nothing."""
        targets = {name: require_targets(stream, name, "latent_prediction") for name in self.names}
        decoded = self.predictor(stream_rows(features), stream, features.classes[-1])
        return {name: self.answers[name](gather_targets(decoded, targets[name].target_index)) for name in self.names}

    def decay(self) -> Float[Array, ""]:
        """What the teacher keeps of itself in the step at hand."""
        first, last = self.config.decay, self.config.last_decay
        if last is None:
            return jnp.float32(first)
        share = jnp.minimum(self.steps.get_value() / self.config.ramp, 1)
        return (first + (last - first) * share).astype(jnp.float32)

    def follow(self, backbone: nnx.Module) -> Float[Array, ""]:
        """In training moves the teacher towards the trunk and counts the step; gives the decay.

        At the start of a step the parameters are those that the step before has made: one behind the
        other, this is the order of V-JEPA, whose teacher follows right after the update.
        """
        decay = self.decay()
        if not self.deterministic:
            self.teacher.follow(backbone, decay)
            self.steps.set_value(self.steps.get_value() + 1)
        return decay


def standardise(features: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
    """Layer norm without scale and bias, in float32: no feature's size can be learned away."""
    centred = features.astype(jnp.float32) - features.astype(jnp.float32).mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + EPSILON)


def l1_where(
    answer: Float[Array, "*#n D"], wanted: Float[Array, "*n D"], counted: Bool[Array, "*n"]
) -> Float[Array, ""]:
    """Mean absolute difference over the counted tokens; 0 where nothing counts."""
    return mean_where(jnp.abs(answer - wanted).mean(axis=-1), counted)
