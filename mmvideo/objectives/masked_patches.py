"""Masked prediction of video and spectrogram patches from the visible tokens."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.config import Model, decoder_dims
from mmvideo.model.features import Features
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.layers.basic import Linear
from mmvideo.model.transformer.decoder import MaskedDecoder
from mmvideo.objectives.components.patch_weights import PatchObjective
from mmvideo.objectives.components.requirements import require_targets
from mmvideo.objectives.losses.masked_mean import clips_with, gather_targets, mean_where, stream_rows
from mmvideo.objectives.losses.patch_targets import PatchTargets, errors
from mmvideo.stream import PADDING, StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class MaskedPatches(PatchObjective):
    """Prediction of hidden video and spectrogram patches in one pass of the decoder.

    Attributes:
      weight: Weight of this objective in the total loss.
      video: Weight of video within the objective; 0 leaves it out. A modality that the run does not have is left out in
        any case.
      audio: Weight of the spectrogram within the objective, likewise.
      target: Target of a patch: its values as they are (`raw`), or normalised so that only the structure is predicted,
        by the mean and deviation of all values (`patch`, MAE, AudioMAE) or of each colour channel (`channel`,
        VideoMAE).
      epsilon: Quantity that 1e-6 is added to: the `variance` (MAE), or the `deviation` (VideoMAE), which amplifies the
        noise of almost flat patches.
      pixels: Units of pixels: `unit` is [0, 1], `signed` is [-1, 1], and `imagenet` subtracts the mean of ImageNet's
        colours and divides by their deviation. Spectrograms keep the units of the stream.
      error: Error of a patch: squared (`mse`), absolute (`l1`), or squared below `beta` and absolute above it
        (`smooth_l1`).
      beta: Difference at which the smooth error changes from squared to absolute.
    """

    weight: float = 1.0
    video: float = 1.0
    audio: float = 1.0
    target: Literal["raw", "patch", "channel"] = "channel"
    epsilon: Literal["variance", "deviation"] = "variance"
    pixels: Literal["unit", "signed", "imagenet"] = "unit"
    error: Literal["mse", "l1", "smooth_l1"] = "mse"
    beta: float = 1.0
    kind: Literal["masked_patches"] = "masked_patches"

    def __post_init__(self) -> None:
        self.check_weights()
        if self.beta <= 0:
            raise ValueError(f"masked_patches.beta {self.beta} must be above 0")

    @property
    def normalises(self) -> bool:
        """True if targets are normalised by the mean and deviation of their patch."""
        return self.target != "raw"

    @property
    def targets(self) -> PatchTargets:
        """The map from patches to targets."""
        return PatchTargets(self.pixels, self.target, self.epsilon)

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> MaskedPatchesHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run has neither modality to predict, or the model keeps no tokens of them.
        """
        self.require_patches(model, spec)
        return MaskedPatchesHeads(self, model, spec, rngs=rngs)

    def loss(
        self, heads: MaskedPatchesHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the error over the hidden tokens to predict, as the weighted sum over modalities.

        Metrics of each modality: `loss`; `mean_loss`, the loss of predicting each patch by its own mean; `tokens` and
        `clips` that counted.

        Raises:
          ValueError: No patches of a wanted modality are ever hidden.
        """
        predicted = heads(features, stream)
        slots = stream.clips.clip_index.shape[1]
        total = jnp.float32(0)
        metrics = {}
        for name, answer in predicted.items():
            targets = stream.targets[name]
            hidden = targets.target_index != PADDING
            # `wanted` has the units of the target. `mean` is in the units before normalisation, of each colour or of
            # all values.
            wanted, mean, _ = self.targets.of(targets.content, name)
            # The mean of a normalised patch is 0. The mean of a raw patch has one value a colour: tiling [r, g, b] to a
            # patch of two pixels gives [r, g, b, r, g, b], the order of its values.
            flat = jnp.zeros_like(mean) if self.normalises else mean
            flat = jnp.tile(flat[..., 0, :], wanted.shape[-1] // flat.shape[-1])
            loss = mean_where(errors(answer, wanted, self.error, self.beta), hidden)
            metrics[f"{name}/loss"] = loss
            metrics[f"{name}/mean_loss"] = mean_where(errors(flat, wanted, self.error, self.beta), hidden)
            metrics[f"{name}/tokens"] = hidden.sum().astype(jnp.float32)
            metrics[f"{name}/clips"] = clips_with(targets.clip, slots)
            # Each modality's loss is a mean over its own tokens, so the weights do not depend on the numbers of tokens.
            total += getattr(self, name) * loss
        return total, metrics

    def reconstruct(self, heads: MaskedPatchesHeads, features: Features, stream: TokenStream) -> dict[str, Array]:
        """Return the predicted patches `[B, M, P]` in the units of the stream's targets, for images.

        Video is in [0, 255] (float32, clipped), audio is the normalised spectrogram. Where the objective normalises,
        each patch gets the mean and deviation of the true hidden patch, which were not predicted: such an image shows
        only the predicted structure.
        """
        answers = heads(features, stream)
        return {
            name: self.targets.pictures(answer, stream.targets[name].content, name) for name, answer in answers.items()
        }


class MaskedPatchesHeads(nnx.Module):
    """The decoder, and one linear map a modality from its tokens to the values of a patch."""

    def __init__(self, config: MaskedPatches, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.names = config.modalities(spec)
        self.decoder = MaskedDecoder(model, spec, rngs=rngs)
        width = decoder_dims(model).width
        self.answers = nnx.Dict(
            {name: Linear(width, getattr(spec, name).size, axes=("embed", "patch"), rngs=rngs) for name in self.names}
        )

    def __call__(self, features: Features, stream: TokenStream) -> dict[str, Float[Array, "B M P"]]:
        """Return the prediction of each hidden patch in float32; the values of empty slots are meaningless."""
        targets = {name: require_targets(stream, name, "masked_patches") for name in self.names}
        decoded = self.decoder(stream_rows(features), stream, features.classes[-1])
        return {name: self.answers[name](gather_targets(decoded, targets[name].target_index)) for name in self.names}
