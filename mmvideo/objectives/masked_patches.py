"""Masked prediction of video and spectrogram patches: what was hidden is predicted from what was seen."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num

from mmvideo.model.config import Model, decoder_dimensions
from mmvideo.model.decoder import PREDICTED, MaskedDecoder
from mmvideo.model.features import Features
from mmvideo.model.kinds import AnyModel
from mmvideo.model.layers import Linear
from mmvideo.objectives.counting import clips_with, mean_where, tokens_at
from mmvideo.objectives.needs import require_targets, require_tokens
from mmvideo.stream import PADDING, StreamSpec, TokenStream

CHANNELS = {"video": 3, "audio": 1}
"""Numbers of a place in a patch, the last axis of it; each channel is normalised on its own."""

EPSILON = 1e-6
"""Added to the variance of a patch, whose numbers are in [0, 1] for pixels."""


@dataclasses.dataclass(frozen=True)
class MaskedPatches:
    """Predicts hidden video and spectrogram patches in one pass of the decoder.

    Attributes:
      weight: of this objective in the total loss.
      video: weight of video within the objective; 0 leaves it out. A modality that the run does
        not have is left out by itself.
      audio: the same for the spectrogram.
      normalise: whether a patch's own mean and deviation are taken out of it first, each colour
        channel on its own, so that only its structure is to be predicted.
    """

    weight: float = 1.0
    video: float = 1.0
    audio: float = 1.0
    normalise: bool = True
    kind: Literal["masked_patches"] = "masked_patches"

    def __post_init__(self) -> None:
        if min(self.video, self.audio) < 0 or max(self.video, self.audio) == 0:
            raise ValueError("masked_patches.video and .audio are weights: 0 or more, and not both 0")

    def modalities(self, spec: StreamSpec) -> tuple[str, ...]:
        """What is predicted in a run."""
        return tuple(name for name in PREDICTED if name in spec.modalities and getattr(self, name) > 0)

    def heads(self, model: AnyModel, spec: StreamSpec, *, rngs: nnx.Rngs) -> MaskedPatchesHeads:
        """New heads.

        Raises:
          ValueError: the run has neither of the modalities to predict, or the model keeps no tokens of them.
        """
        if not self.modalities(spec):
            wanted = " or ".join(name for name in PREDICTED if getattr(self, name) > 0)
            raise ValueError(
                f"masked_patches needs {wanted}, which the run does not have: set input.{wanted.split()[0]}"
            )
        require_tokens(model, self.modalities(spec), "masked_patches")
        return MaskedPatchesHeads(self, model, spec, rngs=rngs)

    def loss(
        self, heads: MaskedPatchesHeads, features: Features, stream: TokenStream, trunk: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Squared error over the hidden tokens, the weighted sum over modalities.

        Metrics of each modality: `loss`; `mean_loss`, the loss on the same tokens of answering each
        patch with its own mean; `tokens` and `clips` that counted.

        Raises:
          ValueError: nothing of a wanted modality is ever hidden.
        """
        predicted = heads(features, stream)
        slots = stream.clips.number.shape[1]
        total, metrics = jnp.float32(0), {}
        for name, answer in predicted.items():
            targets = stream.targets[name]
            hidden = targets.place != PADDING
            wanted, mean, _ = self.wanted(targets.content, name)
            loss = mean_where(jnp.square(answer - wanted).mean(axis=-1), hidden)
            flat = jnp.zeros_like(mean) if self.normalise else mean
            channelled = wanted.reshape(*wanted.shape[:-1], -1, CHANNELS[name])
            metrics[f"{name}/loss"] = loss
            metrics[f"{name}/mean_loss"] = mean_where(jnp.square(channelled - flat).mean(axis=(-2, -1)), hidden)
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
        pictures = {}
        for name, answer in heads(features, stream).items():
            if self.normalise:
                _, mean, deviation = self.wanted(stream.targets[name].content, name)
                channelled = answer.reshape(*answer.shape[:-1], -1, CHANNELS[name])
                answer = (channelled * deviation + mean).reshape(answer.shape)
            pictures[name] = jnp.clip(answer * 255.0, 0.0, 255.0) if name == "video" else answer
        return pictures

    def wanted(
        self, content: Num[Array, "B M P"], modality: str
    ) -> tuple[Float[Array, "B M P"], Float[Array, "B M 1 c"], Float[Array, "B M 1 c"]]:
        """What is to be answered, and the mean and deviation of each patch and channel.

        Pixels are first brought from [0, 255] to [0, 1].
        """
        patches = content.astype(jnp.float32) / (255.0 if modality == "video" else 1.0)
        normalised, mean, deviation = normalise_patches(patches, CHANNELS[modality])
        return (normalised if self.normalise else patches), mean, deviation


class MaskedPatchesHeads(nnx.Module):
    """The decoder and one linear map a modality from its tokens to the numbers of a patch."""

    def __init__(self, config: MaskedPatches, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.names = config.modalities(spec)
        self.decoder = MaskedDecoder(model, spec, rngs=rngs)
        width = decoder_dimensions(model).width
        self.answers = nnx.Dict(
            {name: Linear(width, getattr(spec, name).size, axes=("embed", "patch"), rngs=rngs) for name in self.names}
        )

    def __call__(self, features: Features, stream: TokenStream) -> dict[str, Float[Array, "B M P"]]:
        """The answer for each hidden patch, float32; what stands in empty slots means nothing."""
        targets = {name: require_targets(stream, name, "masked_patches") for name in self.names}
        decoded = self.decoder(features.top, stream)
        return {name: self.answers[name](tokens_at(decoded, targets[name].place)) for name in self.names}


def normalise_patches(
    patches: Float[Array, "*batch P"], channels: int
) -> tuple[Float[Array, "*batch P"], Float[Array, "*batch 1 c"], Float[Array, "*batch 1 c"]]:
    """Patches with mean 0 and deviation 1, each channel of each patch on its own (MAE, He et al. 2022, section 3).

    The variance is the unbiased one, as in the code of VideoMAE and AudioMAE. `EPSILON` is added
    to the variance, as MAE and AudioMAE do; VideoMAE adds it to the deviation, which differs only
    for patches as good as flat, whose noise it would magnify.

    Args:
      patches: numbers with the channel as the last axis of the patch.
      channels: 3 for pixels, 1 for a spectrogram.

    Returns:
      The normalised patches, and the mean and deviation that were taken out.
    """
    channelled = patches.reshape(*patches.shape[:-1], -1, channels)
    mean = channelled.mean(axis=-2, keepdims=True)
    centred = channelled - mean
    variance = jnp.square(centred).sum(axis=-2, keepdims=True) / max(channelled.shape[-2] - 1, 1)
    deviation = jnp.sqrt(variance + EPSILON)
    return (centred / deviation).reshape(patches.shape), mean, deviation
