"""Prediction of hidden patches in feature space, from an averaged copy of the backbone (V-JEPA)."""

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
    """Prediction of the features that an averaged teacher computes for hidden patches of the unmasked clip (V-JEPA).

    The teacher is the exponential moving average of the backbone's parameters. Its top features are normalised over
    their width, and the loss is their L1 distance from the predictor's output (Bardes et al. 2024, sections 3.1 and
    3.2).

    Attributes:
      weight: Weight of this objective in the total loss.
      video: Weight of video within the objective; 0 leaves it out. A modality that the run does not have is left out in
        any case.
      audio: Weight of the spectrogram within the objective, likewise.
      predictor: The transformer that predicts, instead of `model.decoder`; V-JEPA has 12 layers of width 384.
      decay: Share of the average that the teacher keeps in a step.
      last_decay: Final decay, reached linearly from `decay` within the first `ramp` steps. None keeps `decay`.
      ramp: Number of steps from `decay` to `last_decay`.
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
        """Make the heads of this objective, without a teacher yet (see `begin`).

        Raises:
          ValueError: The run has neither modality to predict, or the model keeps no tokens of them.
        """
        self.require_patches(model, spec)
        return LatentHeads(self, model, spec, rngs=rngs)

    def begin(self, heads: LatentHeads, backbone: nnx.Module) -> None:
        """Make a copy of the backbone's current parameters the first teacher."""
        heads.teacher = Teacher(backbone)

    def loss(
        self, heads: LatentHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the absolute error over the hidden tokens, as the weighted sum over modalities.

        In training, the teacher moves before it is used. Metrics of each modality: `loss`; `mean_loss`, the loss of
        predicting every token by the mean of the targets, which goes to 0 if the features collapse; `tokens` and
        `clips` that counted. Another metric is the teacher's `decay`.

        Raises:
          ValueError: No patches of a wanted modality are ever hidden.
        """
        answers = heads(features, stream)
        decay = heads.follow(backbone)
        full = unmask_batch(stream)
        # The teacher sees the whole clip, the backbone only its visible part: the predictor must fill in the rest.
        wanted = heads.teacher(backbone, full)
        total = jnp.float32(0)
        metrics = {"decay": decay}
        for name, answer in answers.items():
            # The unmasked batch has more tokens than the masked one, so `full` has its own index of the same hidden
            # patches.
            place = gather_target_features(wanted, full.targets[name].target_index)
            target = standardise(gather_targets(wanted.top, place))
            hidden = place != PADDING
            loss = l1_where(answer, target, hidden)
            # One mean vector over all hidden tokens of the batch, of width D.
            mean = jnp.where(hidden[..., None], target, 0).sum((0, 1)) / jnp.maximum(hidden.sum(), 1)
            metrics[f"{name}/loss"] = loss
            metrics[f"{name}/mean_loss"] = l1_where(mean, target, hidden)
            metrics[f"{name}/tokens"] = hidden.sum().astype(jnp.float32)
            metrics[f"{name}/clips"] = clips_with(stream.targets[name].clip, stream.clips.clip_index.shape[1])
            total += getattr(self, name) * loss
        return total, metrics


class LatentHeads(nnx.Module):
    """The predictor, one linear map a modality to the backbone's width, and the teacher, which `begin` makes."""

    teacher: Teacher

    def __init__(self, config: LatentPrediction, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.config = config
        self.names = config.modalities(spec)
        self.deterministic = False
        model = dataclasses.replace(model, decoder=config.predictor)
        self.predictor = MaskedDecoder(model, spec, rngs=rngs)
        narrow = decoder_dims(model).width
        wide = feature_width(model)
        self.answers = nnx.Dict({name: Linear(narrow, wide, axes=("out", "embed"), rngs=rngs) for name in self.names})
        # A variable, not a Python number: the step is compiled once, and a checkpoint has to restore the count.
        self.steps = Average(jnp.zeros((), jnp.int32))

    def __call__(self, features: Features, stream: TokenStream) -> dict[str, Float[Array, "B M D"]]:
        """Return the prediction for each hidden patch in float32; the values of empty slots are meaningless."""
        targets = {name: require_targets(stream, name, "latent_prediction") for name in self.names}
        decoded = self.predictor(stream_rows(features), stream, features.classes[-1])
        return {name: self.answers[name](gather_targets(decoded, targets[name].target_index)) for name in self.names}

    def decay(self) -> Float[Array, ""]:
        """Return the share of the average that the teacher keeps in the current step."""
        first, last = self.config.decay, self.config.last_decay
        if last is None:
            return jnp.float32(first)
        # decay 0.9, last_decay 1.0, ramp 10: steps 0, 5, 10, 20 give 0.9, 0.95, 1.0, 1.0.
        share = jnp.minimum(self.steps.get_value() / self.config.ramp, 1)
        return (first + (last - first) * share).astype(jnp.float32)

    def follow(self, backbone: nnx.Module) -> Float[Array, ""]:
        """Move the teacher towards the backbone and count the step, in training only; return the decay.

        At the start of a step the parameters are those that the previous step produced. The sequence of updates is
        therefore the same as in V-JEPA, whose teacher moves right after each update.
        """
        decay = self.decay()
        if not self.deterministic:
            self.teacher.follow(backbone, decay)
            self.steps.set_value(self.steps.get_value() + 1)
        return decay


def standardise(features: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
    """Return the layer norm without scale and bias, in float32.

    It keeps the loss from shrinking with the size of the features.
    """
    centred = features.astype(jnp.float32) - features.astype(jnp.float32).mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + EPSILON)


def l1_where(
    answer: Float[Array, "*#n D"], wanted: Float[Array, "*n D"], counted: Bool[Array, "*n"]
) -> Float[Array, ""]:
    """Return the mean absolute difference over the counted tokens; 0 if none counts."""
    return mean_where(jnp.abs(answer - wanted).mean(axis=-1), counted)
