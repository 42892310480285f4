"""The tokens that a backbone adds to those of the stream: class tokens, registers, bottlenecks."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.config import Model
from mmvideo.model.fusion.gather import SpecialTokens, TokenPool
from mmvideo.model.layers.basic import normal, parameter
from mmvideo.stream import MODALITIES, StreamSpec

BY_MODALITY = ("extra.registers", "extra.classes")
"""Suffixes of the names of parameters that have a row for each modality of the run."""


class ExtraTokens(nnx.Module):
    """Learned tokens: registers and class tokens for each modality, bottleneck tokens shared by all.

    Registers come before class tokens. In causal text a class token then attends to the registers and the text, and the
    text attends to neither.

    Args:
      config: gives the number of each.
      modalities: those of the run.
      fused: those that share a bottleneck; empty if there is none.
      width: `D`.
    """

    def __init__(
        self, config: Model, modalities: tuple[str, ...], fused: tuple[str, ...], width: int, *, rngs: nnx.Rngs
    ):
        self.classes_of = config.class_tokens
        self.constant = SpecialTokens(modalities, config.registers + config.class_tokens)
        self.narrow = SpecialTokens(fused, config.fusion.bottlenecks)
        if config.registers:
            shape = (len(modalities), config.registers, width)
            self.registers = parameter(normal(rngs, shape), None, "place", "embed")
        if config.class_tokens:
            shape = (len(modalities), config.class_tokens, width)
            self.classes = parameter(normal(rngs, shape), None, "place", "embed")
        if fused:
            self.bottlenecks = parameter(normal(rngs, (config.fusion.bottlenecks, width)), "place", "embed")

    def join(self, x: Float[Array, "B L D"], source: TokenPool) -> tuple[Float[Array, "B T D"], TokenPool]:
        """Append registers and class tokens to the tokens of a row."""
        own = [getattr(self, name)[...] for name in ("registers", "classes") if hasattr(self, name)]
        if not own:
            return x, source
        return _behind(x, jnp.concatenate(own, axis=1), source), source.with_extra(self.constant)

    def narrowed(self, x: Float[Array, "B T D"], source: TokenPool) -> tuple[Float[Array, "B U D"], TokenPool]:
        """Append copies of the bottleneck tokens to the tokens of a pool."""
        copies = jnp.broadcast_to(self.bottlenecks[...], (len(self.narrow.modalities), *self.bottlenecks.shape))
        return _behind(x, copies, source), source.with_extra(self.narrow)

    def class_tokens(self, x: Float[Array, "B T D"], source: TokenPool) -> Float[Array, "B E 3 C D"]:
        """Return the class tokens in a pool; zero for a modality that the run lacks."""
        count, width = self.classes_of, x.shape[-1]
        if not count:
            return jnp.zeros((len(x), source.clips, len(MODALITIES), 0, width), x.dtype)
        # The pool is [L tokens | E x modalities x (registers, class tokens) | …]: the last `count` of each group of
        # extra tokens are its class tokens.
        end = source.tokens + self.constant.size(source.clips)
        shape = (len(x), source.clips, len(self.constant.modalities), self.constant.count, width)
        own = x[:, source.tokens : end].reshape(shape)[:, :, :, -count:]
        none = jnp.zeros_like(own[:, :, 0])
        known = self.constant.modalities
        return jnp.stack([own[:, :, known.index(name)] if name in known else none for name in MODALITIES], axis=2)


def _behind(x: Float[Array, "B T D"], extra: Float[Array, "m c D"], source: TokenPool) -> Float[Array, "B U D"]:
    """Append extra tokens for each clip."""
    each = jnp.broadcast_to(extra.astype(x.dtype), (len(x), source.clips, *extra.shape))
    return jnp.concatenate([x, each.reshape(len(x), -1, x.shape[-1])], axis=1)


def modality_rows(
    old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], old_spec: StreamSpec, new_spec: StreamSpec
) -> dict[str, np.ndarray]:
    """Select the rows of a model's class tokens and registers for the modalities of another model.

    Args:
      old: parameters by dotted name, of a model for the modalities of `old_spec`.
      new: parameters of the model for those of `new_spec`; it keeps its own row for a modality that the old one lacks.
      old_spec, new_spec: the modalities of both.
    """
    # Example: old rows for (video, text), new rows for (video, audio): video from the old model, audio from the new.
    found, owners = dict(old), old_spec.modalities
    for name in old.keys() & new.keys():
        if not name.endswith(BY_MODALITY) or old[name].shape[1:] != new[name].shape[1:]:
            continue
        rows = [
            old[name][owners.index(modality)] if modality in owners else row
            for modality, row in zip(new_spec.modalities, new[name], strict=True)
        ]
        found[name] = np.stack(rows)
    return found
