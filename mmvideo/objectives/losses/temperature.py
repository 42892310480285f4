"""Temperature of a softmax or sigmoid over cosines, fixed or learned within bounds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LARGEST_SCALE = 100.0
"""Upper bound of the learned scale of the logits (CLIP, Radford et al. 2021, section 2.5)."""


@jax.custom_vjp
def bounded_exp(log_scale: Float[Array, ""]) -> Float[Array, ""]:
    """Return `exp`, at most `LARGEST_SCALE`; at the bound, only a gradient that lowers the scale passes.

    A plain minimum would also stop that gradient, and a temperature that reached the bound would stay there for ever.
    """
    # log 100 = 4.605: a log scale of 5 gives 100, not 148.
    return jnp.exp(jnp.minimum(log_scale, math.log(LARGEST_SCALE)))


def _bounded_exp_forward(log_scale: Array) -> tuple[Array, tuple[Array, Array]]:
    scale = bounded_exp(log_scale)
    return scale, (scale, log_scale >= math.log(LARGEST_SCALE))


def _bounded_exp_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    scale, at_bound = kept
    # Descent goes against the gradient: only a positive one lowers the scale.
    return (scale * jnp.where(at_bound, jnp.maximum(gradient, 0), gradient),)


bounded_exp.defvjp(_bounded_exp_forward, _bounded_exp_backward)
