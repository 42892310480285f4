"""Heads that objectives share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.layers.basic import EPSILON, LayerNorm, Linear


class ProjectionHead(nnx.Module):
    """An optional layer norm and a linear map to the unit sphere, where the inner product is the cosine.

    Args:
      width: input width, `D`.
      out: width of the embedding.
      norm, bias: whether there is a norm, and whether the linear map has a bias.
    """

    def __init__(self, width: int, out: int, *, norm: bool = True, bias: bool = True, rngs: nnx.Rngs):
        self.norms = norm
        if norm:
            self.norm = LayerNorm(width)
        self.dense = Linear(width, out, bias=bias, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch d"]:
        """Return float32 embeddings of length 1 (0 stays 0)."""
        wide = x.astype(jnp.float32)
        return unit(self.dense(self.norm(wide) if self.norms else wide))


class LinearHead(nnx.Module):
    """An optional layer norm, dropout and a linear map to class logits or the elements of a patch; float32.

    Args:
      width: input width, `D`.
      out: output width.
      dropout: share of the normed elements that training sets to 0 (Srivastava et al. 2014, section 4); the rest are
        divided by the share kept, which preserves the expectation.
      scale: factor of the initial weights of the linear map. With a small factor a pretrained backbone starts with
        nearly equal outputs.
      epsilon: constant added to the variance in the norm; None: no norm.

    Attributes:
      deterministic: False drops elements, as in training.
    """

    def __init__(
        self,
        width: int,
        out: int,
        dropout: float = 0.0,
        scale: float = 1.0,
        epsilon: float | None = EPSILON,
        *,
        rngs: nnx.Rngs,
    ):
        self.norms = epsilon is not None
        if self.norms:
            self.norm = LayerNorm(width, epsilon)
        self.dense = Linear(width, out, rngs=rngs)
        self.dense.kernel[...] *= scale
        self.rate, self.deterministic = dropout, False
        if dropout:
            self.dropout = nnx.RngStream(rngs.params(), tag="dropout")

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch o"]:
        normed = x.astype(jnp.float32)
        if self.norms:
            normed = self.norm(normed)
        if self.rate and not self.deterministic:
            kept = jax.random.bernoulli(self.dropout(), 1 - self.rate, normed.shape)
            normed = jnp.where(kept, normed / (1 - self.rate), 0)
        return self.dense(normed)


def unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Return `x` scaled to length 1; the gradient is finite at 0 too."""
    # The constant is inside the root: at x = 0 the gradient of a norm is 0 / 0, that of this form is 1e6 and finite.
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-12)
