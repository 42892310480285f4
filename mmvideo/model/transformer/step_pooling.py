"""Pooling of the tokens of video to one vector per time step of a clip, and layers over the steps."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.layers.basic import LayerNorm, Linear, gelu
from mmvideo.model.pool import members, pool
from mmvideo.stream import PADDING, Modality, PatchSpec, TokenLayout

VIDEO = ("video",)


class Steps(NamedTuple):
    """The time steps of every clip.

    Attributes:
      vector: the mean of the step's tokens, float32; zero where the clip has no token.
      time: middle of the step in seconds after the start of the clip's view; 0 where the clip has no token.
      present: mask of the steps of which the clip has tokens.
      seconds: time from one step of the clip to the next.
    """

    vector: Float[Array, "B E T D"]
    time: Float[Array, "B E T"]
    present: Bool[Array, "B E T"]
    seconds: Float[Array, "B E"]

    @property
    def length(self) -> Float[Array, "B E"]:
        """End of the last step of each clip, in seconds after the start of its view."""
        return self.time.max(axis=-1) + self.seconds / 2


def pool_frames(tokens: Float[Array, "B L D"], layout: TokenLayout, clips: int, video: PatchSpec) -> Steps:
    """Pool the tokens of video over space.

    Args:
      tokens: features in the rows of `layout`; a backbone may also give one token per step.
      layout: clip, modality and grid cell of each token.
      clips: clip slots of a row, `E`.
      video: the largest grid, whose steps are `T`, and the seconds of a step for a clip that has only one. Other clips
        derive the seconds from their times, because frames may be spread over a clip of any length.
    """
    # Each step of each clip is pooled as if it were a clip: with T = 8, step 3 of clip 2 is slot 19.
    steps = video.grid[0]
    step = jnp.where(layout.modality == Modality.VIDEO, layout.clip * steps + layout.grid[..., 0], PADDING)
    by_step = dataclasses.replace(layout, clip=step)
    vector, present = pool(tokens, by_step, VIDEO, clips * steps)
    # The time of a step's first token, not a mean over its tokens: low-precision products would round the seconds of a
    # long video.
    first = members(by_step, VIDEO, clips * steps)[0].argmax(axis=-1)
    time = jnp.where(present, jnp.take_along_axis(layout.time, first, axis=1), 0)
    split = (len(present), clips, steps)
    time, present = time.reshape(split), present.reshape(split)
    return Steps(vector.reshape(*split, -1), time, present, _step_seconds(time, present, video.seconds))


def _step_seconds(time: Float[Array, "B E T"], present: Bool[Array, "B E T"], alone: float) -> Float[Array, "B E"]:
    """Return the seconds per step between the first and last steps that a clip has; `alone` where it has only one."""
    # Example: steps 1 and 4 are present at 0.5 s and 2.0 s: (2.0 - 0.5) / (4 - 1) = 0.5 s a step.
    index = jnp.arange(time.shape[-1])
    steps, seconds = (
        jnp.where(present, x, -jnp.inf).max(axis=-1) - jnp.where(present, x, jnp.inf).min(axis=-1)
        for x in (index, time)
    )
    return jnp.where(steps > 0, seconds / jnp.maximum(steps, 1), alone)


class StepLayers(nnx.Module):
    """Residual layers in which a step sees its two neighbours: norm, a convolution over three steps, GELU.

    Args:
      width: `D`.
      depth: number of layers; with 0 the steps stay unchanged.
    """

    def __init__(self, width: int, depth: int, *, rngs: nnx.Rngs):
        names = [str(number) for number in range(depth)]
        self.norms = nnx.Dict({name: LayerNorm(width) for name in names})
        self.kernels = nnx.Dict({name: Linear(3 * width, width, axes=("embed", "mlp"), rngs=rngs) for name in names})

    def __call__(self, x: Float[Array, "B E T D"], present: Bool[Array, "B E T"]) -> Float[Array, "B E T D"]:
        """Return the steps; values at absent steps are arbitrary, and no other step sees them."""
        for name in self.kernels:
            y = jnp.where(present[..., None], self.norms[name](x), 0)
            x = x + gelu(self.kernels[name](_neighbours(y)))
        return x


def _neighbours(x: Float[Array, "B E T D"]) -> Float[Array, "B E T three_D"]:
    """Concatenate to each step the one before and the one after it, zero beyond the ends.

    Example: steps [a, b] become [(0, a, b), (a, b, 0)].
    """
    edge = jnp.zeros_like(x[..., :1, :])
    before = jnp.concatenate([edge, x[..., :-1, :]], axis=-2)
    after = jnp.concatenate([x[..., 1:, :], edge], axis=-2)
    return jnp.concatenate([before, x, after], axis=-1)
