"""What a decoder is to answer for a hidden patch: its numbers as they are, or normalised, as the papers do it.

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
"""Numbers of a place in a patch, the last axis of it."""

EPSILON = 1e-6
"""Keeps the deviation of a flat patch from being 0."""

SCALES = {
    "unit": (np.zeros(3), np.ones(3)),
    "signed": (np.full(3, 0.5), np.full(3, 0.5)),
    "imagenet": (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])),
}
"""Mean and deviation of each colour that are taken out of pixels in [0, 1]."""

Pixels = Literal["unit", "signed", "imagenet"]
Target = Literal["raw", "patch", "channel"]
Epsilon = Literal["variance", "deviation"]
Error = Literal["mse", "l1", "smooth_l1"]


@dataclasses.dataclass(frozen=True)
class PatchTargets:
    """How patches become targets, and answers patches again.

    Attributes:
      pixels: `unit` brings pixels to [0, 1], `signed` to [-1, 1], `imagenet` takes the mean and deviation
        of ImageNet's colours out of those in [0, 1]. A spectrogram stays as the stream has it.
      target: `raw` leaves a patch as it is, `patch` takes the mean and deviation of all its numbers out
        of it, `channel` those of each colour on its own.
      epsilon: whether `EPSILON` is added to the variance or to the deviation, which differs only for
        patches as good as flat: the latter makes noise of them.
    """

    pixels: Pixels = "unit"
    target: Target = "channel"
    epsilon: Epsilon = "variance"

    def scaled(self, content: Num[Array, "*batch P"], modality: str) -> Float[Array, "*batch P"]:
        """The patch in the units in which it is predicted, nothing taken out of it yet."""
        if modality != "video":
            return content.astype(jnp.float32)
        mean, deviation = self._scale()
        return _channelled(content.astype(jnp.float32) / 255.0, 3, lambda pixels: (pixels - mean) / deviation)

    def of(
        self, content: Num[Array, "*batch P"], modality: str
    ) -> tuple[Float[Array, "*batch P"], Float[Array, "*batch 1 c"], Float[Array, "*batch 1 c"]]:
        """The targets of patches, and the mean and deviation that were taken out: of each colour, or of all numbers.

        For `raw` these are of each colour, and stay in. The variance is the unbiased one, as in the code of
        MAE, AudioMAE and VideoMAE.
        """
        patches = self.scaled(content, modality)
        together = 1 if self.target == "patch" else CHANNELS[modality]
        parts = patches.reshape(*patches.shape[:-1], -1, together)
        mean = parts.mean(axis=-2, keepdims=True)
        # What is left of a flat patch is the rounding of its mean, which so small a deviation would magnify.
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
        """Answers in the units of the stream, what was taken out of the true patch put back; pixels clipped."""
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
    """The patches with their numbers changed, the channel as the last axis."""
    return change(patches.reshape(*patches.shape[:-1], -1, channels)).reshape(patches.shape)


def errors(
    answer: Float[Array, "*#batch P"], wanted: Float[Array, "*batch P"], kind: Error, beta: float
) -> Float[Array, "*batch"]:
    """The mean error of a patch: squared, absolute, or squared below `beta` and absolute above it.

    `smooth_l1` is `x² / (2 beta)` below and `|x| - beta / 2` above (Girshick 2015, equation 3, for a beta of 1).
    """
    difference = answer - wanted
    if kind == "mse":
        each = jnp.square(difference)
    elif kind == "l1":
        each = jnp.abs(difference)
    else:
        each = optax.huber_loss(difference, delta=beta) / beta
    return each.mean(axis=-1)
