"""Targets of a hidden patch: its values as they are, or normalised, in the forms of the papers.

| paper | pixels | target | epsilon |
|---|---|---|---|
| MAE (He et al. 2022), CAV-MAE | `imagenet` | `patch` | `variance` |
| AudioMAE (Huang et al. 2022) | | `patch` | `variance` |
| VideoMAE (Tong et al. 2022) | `unit` | `channel` | `deviation` |
| AV-MAE (Georgescu et al. 2023) | `signed` | `raw` | |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

CHANNELS = {"video": 3, "audio": 1}
"""Channels of a pixel or a spectrogram bin, the last axis of a patch."""

EPSILON = 1e-6
"""Lower bound that keeps the deviation of a flat patch above 0."""

SCALES = {
    "unit": (np.zeros(3), np.ones(3)),
    "signed": (np.full(3, 0.5), np.full(3, 0.5)),
    "imagenet": (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])),
}
"""Mean and deviation of each colour channel, by which pixels in [0, 1] are normalised."""

Pixels = Literal["unit", "signed", "imagenet"]
Target = Literal["raw", "patch", "channel"]
Epsilon = Literal["variance", "deviation"]
Error = Literal["mse", "l1", "smooth_l1"]


@dataclasses.dataclass(frozen=True)
class PatchTargets:
    """Map from patches to targets, and from predictions back to patches.

    Attributes:
      pixels: Units of pixels: `unit` is [0, 1], `signed` is [-1, 1], `imagenet` is normalised by the mean and deviation
        of ImageNet's colours. A spectrogram keeps the units of the stream.
      target: Normalisation of a patch: `raw` is none, `patch` by the mean and deviation of all its values, `channel` by
        those of each colour channel.
      epsilon: Quantity that `EPSILON` is added to: `variance` or `deviation`. They differ only for almost flat patches,
        whose noise the latter amplifies.
    """

    pixels: Pixels = "unit"
    target: Target = "channel"
    epsilon: Epsilon = "variance"

    def scaled(self, content: Num[Array, "*batch P"], modality: str) -> Float[Array, "*batch P"]:
        """Return the patch in the units of its target, before normalisation."""
        if modality != "video":
            return content.astype(jnp.float32)
        mean, deviation = self._scale()
        return _channelled(content.astype(jnp.float32) / 255.0, 3, lambda pixels: (pixels - mean) / deviation)

    def of(
        self, content: Num[Array, "*batch P"], modality: str
    ) -> tuple[Float[Array, "*batch P"], Float[Array, "*batch 1 c"], Float[Array, "*batch 1 c"]]:
        """Return the targets of patches, and the mean and deviation of each colour channel or of all values.

        For `raw` these are of each channel, and are not removed. The variance is unbiased, as in the code of MAE,
        AudioMAE and VideoMAE.
        """
        patches = self.scaled(content, modality)
        together = 1 if self.target == "patch" else CHANNELS[modality]
        # A patch of 16 x 16 pixels in RGB has 768 values: [256, 3] by channel, [768, 1] for `patch`.
        parts = patches.reshape(*patches.shape[:-1], -1, together)
        mean = parts.mean(axis=-2, keepdims=True)
        # After centring, a flat patch holds only the rounding error of its mean, which a deviation near 0 would
        # magnify. A second centring removes it.
        centred = (parts - mean) - (parts - mean).mean(axis=-2, keepdims=True)
        variance = jnp.square(centred).sum(axis=-2, keepdims=True) / max(parts.shape[-2] - 1, 1)
        if self.epsilon == "variance":
            deviation = jnp.sqrt(variance + EPSILON)
        else:
            deviation = jnp.sqrt(variance) + EPSILON
        if self.target != "raw":
            patches = (centred / deviation).reshape(patches.shape)
        return patches, mean, deviation

    def pictures(
        self, answer: Float[Array, "*batch P"], content: Num[Array, "*batch P"], modality: str
    ) -> Float[Array, "*batch P"]:
        """Return predictions in the units of the stream, denormalised by the true patch; pixels are clipped."""
        if self.target != "raw":
            _, mean, deviation = self.of(content, modality)
            answer = _channelled(answer, mean.shape[-1], lambda parts: parts * deviation + mean)
        if modality != "video":
            return answer
        mean, deviation = self._scale()
        return jnp.clip(_channelled(answer, 3, lambda parts: parts * deviation + mean) * 255.0, 0.0, 255.0)

    def _scale(self) -> tuple[Array, Array]:
        mean, deviation = SCALES[self.pixels]
        return jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32)


def _channelled(patches: Array, channels: int, change: Callable[[Array], Array]) -> Array:
    """Apply a function to the values of patches with the channel as the last axis."""
    return change(patches.reshape(*patches.shape[:-1], -1, channels)).reshape(patches.shape)


def errors(
    answer: Float[Array, "*#batch P"], wanted: Float[Array, "*batch P"], kind: Error, beta: float
) -> Float[Array, "*batch"]:
    """Return the mean error of a patch: squared, absolute, or squared below `beta` and absolute above it.

    `smooth_l1` is `x² / (2 beta)` below and `|x| - beta / 2` above (Girshick 2015, equation 3, for a beta of 1).
    """
    difference = answer - wanted
    if kind == "mse":
        each = jnp.square(difference)
    elif kind == "l1":
        each = jnp.abs(difference)
    else:
        # Huber is x² / 2 below delta and delta (|x| - delta / 2) above; dividing by beta gives the smooth L1 error.
        each = optax.huber_loss(difference, delta=beta) / beta
    return each.mean(axis=-1)
