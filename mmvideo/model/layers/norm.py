"""Norms of tokens, with one set of weights for all tokens or one for each modality.

Each token's weights are selected elementwise while the norm is computed: the row keeps its order, and no token is
normed twice.
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
    """Return `x` over its root mean square, computed in float32 (Zhang and Sennrich 2019, eq. 4)."""

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
    """Return the norm that the block asks for; `rms` has no bias."""
    if block.norm == "rms":
        return rms_norm(x, scale, block.epsilon)
    return layer_norm(x, scale, bias, block.epsilon)


def select_by_modality(
    weights: Float[Array, "m D"], kinds: Int[Array, "*batch"], modalities: tuple[str, ...]
) -> Float[Array, "*batch D"]:
    """Return the weights of each token: the row of its modality.

    Args:
      weights: a row for each of `modalities`.
      kinds: the modality of each token; any other modality gets an arbitrary row.
      modalities: the modalities of the rows.
    """
    # A chain of `where` instead of a gather: XLA fuses it into the norm, and its gradient is a masked sum, no scatter.
    picked = jnp.broadcast_to(weights[0], (*kinds.shape, weights.shape[1]))
    for number, name in enumerate(modalities[1:], start=1):
        picked = jnp.where((kinds == MODALITIES.index(name))[..., None], weights[number], picked)
    return picked


class Norm(nnx.Module):
    """The norm at the end of a stage or of a decoder.

    Args:
      width: `D`.
      block: gives the kind of norm.
      own: modalities with weights of their own, nested under their names; empty: all tokens share the weights.
      norms: whether there is a norm; None: only for order `pre`, because layers of order `post` end with one.
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
        """Return `x` normed; `kinds` is the modality of each token, needed if modalities own their weights."""
        if not self.norms:
            return x
        scale = self._weights("scale", kinds)
        return norm(x, self.block, scale, self._weights("bias", kinds) if self.block.norm == "layer" else None)

    def of_some(self, x: Float[Array, "*batch D"], kinds: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """Return `x` with only the tokens normed whose modalities own weights."""
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
