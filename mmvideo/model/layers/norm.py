"""Norms of tokens, with one set of weights for all of them or one for each modality.

A token's own weights are picked while the norm is computed, number by number: the row keeps its
order, and nothing is normed twice.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from mmvideo.model.config import Block
from mmvideo.model.layers.basic import layer_norm, parameter, rematerialized
from mmvideo.stream import MODALITIES


@jax.named_scope("norm")
def rms_norm(x: Float[Array, "*batch D"], scale: Float[Array, "*#batch D"], epsilon: float) -> Float[Array, "*batch D"]:
    """`x` over its root mean square, computed in float32 (Zhang and Sennrich 2019, eq. 4)."""

    @rematerialized
    def normed(x: Array, scale: Array) -> Array:
        wide = x.astype(jnp.float32)
        return (wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + epsilon) * scale).astype(x.dtype)

    return normed(x, scale)


def norm(
    x: Float[Array, "*batch D"],
    block: Block,
    scale: Float[Array, "*#batch D"],
    bias: Float[Array, "*#batch D"] | float | None,
) -> Float[Array, "*batch D"]:
    """The kind of norm that the block asks for; `rms` has no bias."""
    if block.norm == "rms":
        return rms_norm(x, scale, block.epsilon)
    return layer_norm(x, scale, bias, block.epsilon)


def select_by_modality(
    weights: Float[Array, "m D"], kinds: Int[Array, "*batch"], modalities: tuple[str, ...]
) -> Float[Array, "*batch D"]:
    """The weights of each token: the row of its modality.

    Args:
      weights: a row for each of `modalities`.
      kinds: the modality of each token; one of none of them gets some row.
      modalities: whose weights the rows are.
    """
    picked = jnp.broadcast_to(weights[0], (*kinds.shape, weights.shape[1]))
    for number, name in enumerate(modalities[1:], start=1):
        picked = jnp.where((kinds == MODALITIES.index(name))[..., None], weights[number], picked)
    return picked


class Norm(nnx.Module):
    """The norm at the end of a stage or of a decoder.

    Args:
      width: `D`.
      block: gives the kind of norm.
      own: modalities with weights of their own, which lie under their names; none: all tokens have the same.
      norms: whether anything is normed; None: behind layers of order `post` nothing is left to be.
    """

    def __init__(self, width: int, block: Block, own: tuple[str, ...] = (), norms: bool | None = None):
        self.block, self.own = block, own
        self.norms = block.order == "pre" if norms is None else norms
        for name in own if self.norms else ():
            setattr(self, name, Norm(width, block, norms=True))
        if not own and self.norms:
            self.scale = parameter(jnp.ones(width), "norm")
            if block.norm == "layer":
                self.bias = parameter(jnp.zeros(width), "norm")

    def __call__(
        self, x: Float[Array, "*batch D"], kinds: Int[Array, "*#batch"] | None = None
    ) -> Float[Array, "*batch D"]:
        """`x` normed; `kinds` is the modality of each token, needed where modalities have their own weights."""
        if not self.norms:
            return x
        scale = self._weights("scale", kinds)
        return norm(x, self.block, scale, self._weights("bias", kinds) if self.block.norm == "layer" else None)

    def of_some(self, x: Float[Array, "*batch D"], kinds: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """`x`, of which the tokens of the modalities with weights of their own are normed, and all others stay."""
        if not self.own:
            return x
        member = jnp.isin(kinds, jnp.asarray([MODALITIES.index(name) for name in self.own]))
        return jnp.where(member[..., None], self(x, kinds), x)

    def _weights(self, name: str, kinds: Array | None) -> Array:
        if not self.own:
            return getattr(self, name)[...]
        return select_by_modality(
            jnp.stack([getattr(getattr(self, owner), name)[...] for owner in self.own]), kinds, self.own
        )
