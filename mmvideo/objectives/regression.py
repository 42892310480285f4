"""Regression: one number of a clip, such as a sentiment."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.features import Features
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.clip_head import ClipHeadConfig, PooledHeads
from mmvideo.objectives.losses.masked_mean import mean_where
from mmvideo.objectives.losses.patch_targets import errors
from mmvideo.stream import StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class Regression(ClipHeadConfig):
    """Prediction of a number from the pooled features of some modalities.

    Attributes:
      label: Kind of number, by its name in the corpus.
      modalities: Modalities that the head may see, as for `Classification`.
      error: Error of a clip: absolute (`l1`), squared (`mse`), or squared below `beta` and absolute above it
        (`smooth_l1`).
      beta: Difference at which the smooth error changes from squared to absolute.
      range: Lowest and highest number, such as (-3, 3) for CMU-MOSEI. The head and the loss use the range scaled to
        [-1, 1]. Predictions are in the scale of the corpus, and may lie outside the range. None scales nothing.
      pooling: Pooling of tokens into one vector, as for `Classification`.
      require: Modalities that a clip must have to count: `all` of them, or `any` of them.
      dropout, init_scale, head_norm, after_fusion: Settings of the head, as for `Classification`.
      weight: Weight of this objective in the total loss.
    """

    label: str
    modalities: tuple[str, ...] = ("video", "audio")
    error: Literal["l1", "mse", "smooth_l1"] = "l1"
    beta: float = 1.0
    range: tuple[float, float] | None = None
    pooling: Pooling = "mean"
    require: Literal["all", "any"] = "all"
    dropout: float = 0.0
    init_scale: float = 1.0
    head_norm: float | None = 1e-6
    weight: float = 1.0
    after_fusion: bool = False
    kind: Literal["regression"] = "regression"

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"regression.beta {self.beta} must be above 0")
        if self.range is not None and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(f"regression.range {self.range} must be the lowest and the highest number")
        self.check_pooled()

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> PooledHeads:
        """Make the heads of this objective; raise ValueError as `pooled_heads` does."""
        return self.pooled_heads(1, model, spec, rngs=rngs)

    def loss(
        self, heads: PooledHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the mean error over the clips whose number is known.

        Metrics: `mae`, the mean absolute error in the scale of the corpus; `mean_mae`, the same for predicting the mean
        of the batch for all clips; `clips` that counted.

        Raises:
          ValueError: The stream has no such kind of number, or several numbers a clip.
        """
        wanted, known = self._numbers(stream)
        answer, present = heads(features, stream)
        # The loss is on the scale of the head: range (-3, 3) and a truth of 1.5 make a target of 0.5.
        counted, (middle, half) = present & known, self._scale()
        loss = mean_where(errors(answer, (wanted[..., None] - middle) / half, self.error, self.beta), counted)
        value = answer[..., 0] * half + middle
        return loss, {
            "mae": mean_where(jnp.abs(value - wanted), counted),
            # The baseline uses the truth of this batch, so a model must beat the best constant for these clips.
            "mean_mae": mean_where(jnp.abs(mean_where(wanted, counted) - wanted), counted),
            "clips": counted.sum().astype(jnp.float32),
        }

    def predict(
        self, heads: PooledHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> dict[str, Array]:
        """Return `value` `[B, E]` in the scale of the corpus, and `known`, True if the clip has the modalities."""
        answer, present = heads(features, stream)
        middle, half = self._scale()
        return {"value": answer[..., 0] * half + middle, "known": present}

    def _scale(self) -> tuple[float, float]:
        """Return the number that the head calls 0, and the difference that it calls 1."""
        low, high = (-1.0, 1.0) if self.range is None else self.range
        # Range (0, 10): middle 5 and half 5, so that 0 becomes -1 and 10 becomes 1.
        return (low + high) / 2, (high - low) / 2

    def _numbers(self, stream: TokenStream) -> tuple[Float[Array, "B E"], Bool[Array, "B E"]]:
        """Return the number of every clip, and a mask of the known ones."""
        kinds = stream.clips.targets
        if self.label not in kinds:
            found = ", ".join(sorted(kinds)) or "none"
            raise ValueError(f"regression.label {self.label!r} is not a kind of number of the corpus: it has {found}")
        given = jnp.asarray(kinds[self.label])
        if given.shape[-1] != 1:
            raise ValueError(f"regression.label {self.label!r} has {given.shape[-1]} numbers a clip: it must be one")
        known = jnp.isfinite(given[..., 0])
        return jnp.where(known, given[..., 0], 0), known
