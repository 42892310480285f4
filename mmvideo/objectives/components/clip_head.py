"""Shared head of the objectives that predict for a whole clip from its pooled tokens."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.factory import feature_width, make_pooler
from mmvideo.model.features import Features
from mmvideo.model.heads import LinearHead
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.requirements import require_modalities, require_unfused
from mmvideo.stream import MODALITIES, StreamSpec, TokenStream


class ClipHeadConfig:
    """The settings that classification and regression share."""

    kind: str
    modalities: tuple[str, ...]
    pooling: Pooling
    require: Literal["all", "any"]
    dropout: float
    init_scale: float
    head_norm: float | None
    after_fusion: bool

    def check_pooled(self) -> None:
        """Raise ValueError for settings that no head can have."""
        if not self.modalities or not set(self.modalities) <= set(MODALITIES):
            raise ValueError(f"{self.kind}.modalities {self.modalities} must name some of {', '.join(MODALITIES)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"{self.kind}.dropout {self.dropout} must be in [0, 1)")
        if not self.init_scale > 0:
            raise ValueError(f"{self.kind}.init_scale {self.init_scale} must be above 0")
        if self.head_norm is not None and not self.head_norm > 0:
            raise ValueError(f"{self.kind}.head_norm {self.head_norm} must be above 0, or None for no norm")

    def pooled_heads(self, out: int, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> PooledHeads:
        """Make heads of `out` outputs.

        Raises:
          ValueError: The run lacks a modality, or its fusion has no features of these modalities alone.
        """
        require_modalities(spec, self.modalities, self.kind)
        if not self.after_fusion:
            require_unfused(model, spec, self.modalities, self.kind)
        return PooledHeads(self, out, model, rngs=rngs)


class PooledHeads(nnx.Module):
    """A pooler, layer norm (if `head_norm` is set), dropout and a linear map."""

    def __init__(self, config: ClipHeadConfig, out: int, model: ModelConfig, *, rngs: nnx.Rngs):
        width = feature_width(model)
        self.modalities, self.require = config.modalities, config.require
        self.after_fusion = config.after_fusion
        self.pooler = make_pooler(config.pooling, model, rngs=rngs)
        self.logits = LinearHead(width, out, config.dropout, config.init_scale, config.head_norm, rngs=rngs)

    def __call__(self, features: Features, stream: TokenStream) -> tuple[Float[Array, "B E o"], Bool[Array, "B E"]]:
        """Return the outputs in float32, and a mask of the clips that have the required modalities."""
        slots = stream.clips.clip_index.shape[1]
        pooled, present = self.pooler(features, self.tap(features), self.modalities, slots)
        if self.require == "any":
            # The pooler's mask asks for all modalities; the mean over those that a clip has is valid with any of them.
            places = [MODALITIES.index(name) for name in self.modalities]
            present = jnp.asarray(stream.clips.present)[..., places].any(axis=-1)
        return self.logits(pooled), present

    def tap(self, features: Features) -> int:
        """Return the index of the tap to pool: the deepest with these modalities only, or the last with `after_fusion`.

        With `Fusion("mid", layer=3)` of 4 layers, a head of video reads the output of the third layer, and a head of
        video, audio and text that of the fourth.
        """
        return len(features.taps) - 1 if self.after_fusion else features.tap(self.modalities)
