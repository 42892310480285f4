"""Long short-term memory over sequences with gaps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.layers.basic import parameter, xavier


class Lstm(nnx.Module):
    """Long short-term memory with forget gates (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    With input, forget, cell and output parts `i f g o` of `x W + h U + b`, each step computes
    `c = sigmoid(f) c + sigmoid(i) tanh(g)` and `h = sigmoid(o) tanh(c)`. The forget gate starts open, with a bias of 1
    (Jozefowicz et al. 2015, section 2.2), and each part of `U` starts orthogonal.

    Args:
      width: input width.
      state: width of `h` and of `c`.
    """

    def __init__(self, width: int, state: int, *, rngs: nnx.Rngs):
        parts = [jax.nn.initializers.orthogonal()(rngs.params(), (state, state)) for _ in range(4)]
        self.input_kernel = parameter(xavier(rngs, (width, 4 * state), width, state), "embed", "mlp")
        self.recurrent_kernel = parameter(jnp.concatenate(parts, axis=1), "embed", "mlp")
        self.bias = parameter(jnp.zeros((4, state)).at[1].set(1.0).reshape(-1), "norm")

    def __call__(self, x: Float[Array, "*n S d"], present: Bool[Array, "*n S"]) -> Float[Array, "*n h"]:
        """Return `h` after the last step that is present, in the dtype of `x`; absent steps are skipped.

        The state is float32.
        """
        # The input product of all steps is one matrix product outside of the loop; only `h U` must wait for the step
        # before.
        wide = x @ self.input_kernel[...].astype(x.dtype) + self.bias[...].astype(x.dtype)
        recurrent = self.recurrent_kernel[...].astype(x.dtype)

        def step(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            h, c = state
            projected, is_present = now
            i, f, g, o = jnp.split((projected + h.astype(x.dtype) @ recurrent).astype(jnp.float32), 4, axis=-1)
            new_c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_h = jax.nn.sigmoid(o) * jnp.tanh(new_c)
            return (jnp.where(is_present, new_h, h), jnp.where(is_present, new_c, c)), None

        start = jnp.zeros((*x.shape[:-2], recurrent.shape[0]), jnp.float32)
        steps = (jnp.moveaxis(wide, -2, 0), jnp.moveaxis(present, -1, 0)[..., None])
        (h, _), _ = jax.lax.scan(step, (start, start), steps)
        return h.astype(x.dtype)
