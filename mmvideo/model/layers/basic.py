"""Basic layers: parameters with named axes, layer norm, activations, linear maps."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

EPSILON = 1e-6
"""Default constant added to the variance in layer norm (as in ViT and its successors)."""


rematerialized = functools.partial(jax.checkpoint, prevent_cse=False)
"""Save only the arguments of a function for its gradient, and recompute the intermediates.

For chains of elementwise operations: their intermediates in float32 are several times as large as the bfloat16 inputs
and outputs, and an accelerator recomputes them in less time than it takes to store them.
"""


def parameter(value: Array, *axes: str | None) -> nnx.Param:
    """Return a float32 parameter with the names of its logical axes as the metadata `axes`.

    The names in use: `layers` (stacked layers), `embed` (D), `qkv`, `heads` (N), `head` (H), `mlp` (F), `vocab` (V),
    `patch` (P), `norm` (scales and biases over D), `place` (rows of a small table), `rank` (of a low-rank update),
    `out` (the output of a head).

    Raises:
      ValueError: the number of names is not the number of axes.
    """
    if len(axes) != value.ndim:
        raise ValueError(f"a parameter of shape {value.shape} needs {value.ndim} axis names, got {axes}")
    return nnx.Param(value.astype(jnp.float32), axes=tuple(axes))


def xavier(rngs: nnx.Rngs, shape: Sequence[int], fan_in: int, fan_out: int) -> Array:
    """Return uniform weights of variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010, eq. 16)."""
    # A uniform distribution on [-a, a] has variance a^2 / 3.
    limit = (6.0 / (fan_in + fan_out)) ** 0.5
    return jax.random.uniform(rngs.params(), tuple(shape), jnp.float32, -limit, limit)


def normal(rngs: nnx.Rngs, shape: Sequence[int], deviation: float = 0.02) -> Array:
    """Return normal weights of the given standard deviation."""
    return deviation * jax.random.normal(rngs.params(), tuple(shape), jnp.float32)


@jax.named_scope("norm")
def layer_norm(
    x: Float[Array, "*batch D"],
    scale: Float[Array, "*#batch D"],
    bias: Float[Array, "*#batch D"] | float,
    epsilon: float = EPSILON,
) -> Float[Array, "*batch D"]:
    """Return the layer norm over the width, computed in float32, in the dtype of `x` (Ba et al. 2016, section 3)."""

    @rematerialized
    def normed(x: Array, scale: Array, bias: Array | float) -> Array:
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(axis=-1, keepdims=True)
        variance = jnp.square(centred).mean(axis=-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + epsilon) * scale + bias).astype(x.dtype)

    return normed(x, scale, bias)


@rematerialized
def gelu(x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
    """Return `x` times the normal distribution function of `x`, exact to 1e-6 (Hendrycks and Gimpel 2016, section 2).

    It is written out because XLA's CPU backend computes the gradient of this form in half the time of that of
    `jax.nn.gelu`. It is computed in float32, where `1 + erf` has enough precision.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1.0 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


@rematerialized
def gelu_tanh(x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
    """Return `gelu` with the distribution function approximated by tanh (Hendrycks and Gimpel 2016, section 2)."""
    return jax.nn.gelu(x.astype(jnp.float32), approximate=True).astype(x.dtype)


@rematerialized
def gelu_quick(x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
    """Return `x sigmoid(1.702 x)`, a coarser approximation of `gelu` (Hendrycks and Gimpel 2016, section 2; CLIP)."""
    wide = x.astype(jnp.float32)
    return (wide * jax.nn.sigmoid(1.702 * wide)).astype(x.dtype)


@rematerialized
def swish(x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
    """Return `x sigmoid(x)`, the gate of SwiGLU (Shazeer 2020, section 2)."""
    wide = x.astype(jnp.float32)
    return (wide * jax.nn.sigmoid(wide)).astype(x.dtype)


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "gelu_quick": gelu_quick, "swiglu": swish}
"""The nonlinearity of a feed-forward; that of `swiglu` acts on its gate."""


class LayerNorm(nnx.Module):
    """Layer norm with a learned scale and bias.

    Args:
      width: `D`.
      epsilon: constant added to the variance.
    """

    def __init__(self, width: int, epsilon: float = EPSILON):
        self.epsilon = epsilon
        self.scale = parameter(jnp.ones(width), "norm")
        self.bias = parameter(jnp.zeros(width), "norm")

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return layer_norm(x, self.scale[...], self.bias[...], self.epsilon)


class Linear(nnx.Module):
    """An affine map, computed in the dtype of its input.

    Args:
      width: input width.
      out: output width.
      axes: logical names of the two axes of the kernel.
      bias: whether there is a bias.
    """

    def __init__(
        self, width: int, out: int, *, axes: tuple[str, str] = ("embed", "out"), bias: bool = True, rngs: nnx.Rngs
    ):
        self.kernel = parameter(xavier(rngs, (width, out), width, out), *axes)
        self.biased = bias
        if bias:
            self.bias = parameter(jnp.zeros(out), "norm")

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        y = x @ self.kernel[...].astype(x.dtype)
        return y + self.bias[...].astype(x.dtype) if self.biased else y
