"""Masked prediction of video and spectrogram patches: what was hidden is predicted from what was seen."""

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
    """Predicts hidden video and spectrogram patches in one pass of the decoder.

    Attributes:
      weight: of this objective in the total loss.
      video: weight of video within the objective; 0 leaves it out. A modality that the run does
        not have is left out by itself.
      audio: the same for the spectrogram.
      target: what is answered for a patch: its numbers as they are (`raw`), or, so that only its
        structure is to be predicted, without the mean and deviation of all of them (`patch`, MAE,
        AudioMAE) or of each colour (`channel`, VideoMAE).
      epsilon: whether 1e-6 is added to the `variance` (MAE) or to the `deviation` (VideoMAE, which makes
        noise of patches as good as flat).
      pixels: in which units: `unit` is [0, 1], `signed` [-1, 1], and `imagenet` takes the mean and deviation
        of ImageNet's colours out. Spectrograms stay as the stream has them.
      error: squared (`mse`), absolute (`l1`), or squared below `beta` and absolute above it (`smooth_l1`).
      beta: where the smooth error changes.
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
        """Whether answers lack the mean and deviation of their patch."""
        return self.target != "raw"

    @property
    def targets(self) -> PatchTargets:
        """How patches become targets."""
        return PatchTargets(self.pixels, self.target, self.epsilon)

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> MaskedPatchesHeads:
        """New heads.

        Raises:
          ValueError: the run has neither of the modalities to predict, or the model keeps no tokens of them.
        """
        self.require_patches(model, spec)
        return MaskedPatchesHeads(self, model, spec, rngs=rngs)

    def loss(
        self, heads: MaskedPatchesHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The error over the hidden tokens that are to be predicted, the weighted sum over modalities.

        Metrics of each modality: `loss`; `mean_loss`, the loss on the same tokens of answering each
        patch with its own mean; `tokens` and `clips` that counted.

        Raises:
          ValueError: nothing of a wanted modality is ever hidden.
        """
        predicted = heads(features, stream)
        slots = stream.clips.clip_index.shape[1]
        total, metrics = jnp.float32(0), {}
        for name, answer in predicted.items():
            targets = stream.targets[name]
            hidden = targets.target_index != PADDING
            wanted, mean, _ = self.targets.of(targets.content, name)
            flat = jnp.zeros_like(mean) if self.normalises else mean
            flat = jnp.tile(flat[..., 0, :], wanted.shape[-1] // flat.shape[-1])
            loss = mean_where(errors(answer, wanted, self.error, self.beta), hidden)
            metrics[f"{name}/loss"] = loss
            metrics[f"{name}/mean_loss"] = mean_where(errors(flat, wanted, self.error, self.beta), hidden)
            metrics[f"{name}/tokens"] = hidden.sum().astype(jnp.float32)
            metrics[f"{name}/clips"] = clips_with(targets.clip, slots)
            total += getattr(self, name) * loss
        return total, metrics

    def reconstruct(self, heads: MaskedPatchesHeads, features: Features, stream: TokenStream) -> dict[str, Array]:
        """The predicted patches `[B, M, P]` in the units of the stream's targets, for pictures of them.

        Video in [0, 255] (float32, clipped), audio as the normalised spectrogram. Where the
        objective normalises, each patch gets back the mean and deviation of the hidden patch
        itself, which was not predicted: such a picture shows the structure only.
        """
        answers = heads(features, stream)
        return {
            name: self.targets.pictures(answer, stream.targets[name].content, name) for name, answer in answers.items()
        }


class MaskedPatchesHeads(nnx.Module):
    """The decoder and one linear map a modality from its tokens to the numbers of a patch."""

    def __init__(self, config: MaskedPatches, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.names = config.modalities(spec)
        self.decoder = MaskedDecoder(model, spec, rngs=rngs)
        width = decoder_dims(model).width
        self.answers = nnx.Dict(
            {name: Linear(width, getattr(spec, name).size, axes=("embed", "patch"), rngs=rngs) for name in self.names}
        )

    def __call__(self, features: Features, stream: TokenStream) -> dict[str, Float[Array, "B M P"]]:
        """The answer for each hidden patch, float32; what stands in empty slots means nothing."""
        targets = {name: require_targets(stream, name, "masked_patches") for name in self.names}
        decoded = self.decoder(stream_rows(features), stream, features.classes[-1])
        return {name: self.answers[name](gather_targets(decoded, targets[name].target_index)) for name in self.names}
