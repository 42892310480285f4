"""Heads that objectives share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.layers import LayerNorm, Linear


class ProjectionHead(nnx.Module):
    """Layer norm and a linear map to the unit sphere, where cosine and inner product are one.

    Args:
      width: numbers in, `D`.
      out: numbers of the embedding.
    """

    def __init__(self, width: int, out: int, *, rngs: nnx.Rngs):
        self.norm = LayerNorm(width)
        self.dense = Linear(width, out, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch d"]:
        """Embeddings of length 1 (0 stays 0), float32."""
        return unit(self.dense(self.norm(x.astype(jnp.float32))))


class LinearHead(nnx.Module):
    """Layer norm and a linear map: logits of classes, or numbers of a patch; float32."""

    def __init__(self, width: int, out: int, *, rngs: nnx.Rngs):
        self.norm = LayerNorm(width)
        self.dense = Linear(width, out, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch o"]:
        return self.dense(self.norm(x.astype(jnp.float32)))


def unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """`x` scaled to length 1; the gradient is finite also at 0."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-12)
