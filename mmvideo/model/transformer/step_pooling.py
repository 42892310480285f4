"""From the tokens of video to one vector a time step of a clip, and layers over the steps."""

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
      vector: the mean of the step's tokens, float32; zero where the clip has none there.
      time: middle of the step in seconds after the start of the clip's view; 0 where there is none.
      present: which steps the clip has tokens of.
      seconds: from one step of the clip to the next.
    """

    vector: Float[Array, "B E T D"]
    time: Float[Array, "B E T"]
    present: Bool[Array, "B E T"]
    seconds: Float[Array, "B E"]

    @property
    def length(self) -> Float[Array, "B E"]:
        """Where the last step of each clip ends, in seconds after the start of its view."""
        return self.time.max(axis=-1) + self.seconds / 2


def pool_frames(tokens: Float[Array, "B L D"], layout: TokenLayout, clips: int, video: PatchSpec) -> Steps:
    """The tokens of video pooled over space.

    Args:
      tokens: features in the rows of `layout`; a trunk that keeps one token a step is only a special case.
      layout: which clip, modality and cell of the grid each token is of.
      clips: clip slots of a row, `E`.
      video: the largest grid, whose steps are `T`, and the seconds of a step of a clip that has only one. The
        others tell their own, for frames may be spread over a clip of any length.
    """
    steps = video.grid[0]
    step = jnp.where(layout.modality == Modality.VIDEO, layout.clip * steps + layout.grid[..., 0], PADDING)
    by_step = dataclasses.replace(layout, clip=step)
    vector, present = pool(tokens, by_step, VIDEO, clips * steps)
    # Taken from a token, not averaged: fast products would round the seconds of a long video.
    first = members(by_step, VIDEO, clips * steps)[0].argmax(axis=-1)
    time = jnp.where(present, jnp.take_along_axis(layout.time, first, axis=1), 0)
    split = (len(present), clips, steps)
    time, present = time.reshape(split), present.reshape(split)
    return Steps(vector.reshape(*split, -1), time, present, _step_seconds(time, present, video.seconds))


def _step_seconds(time: Float[Array, "B E T"], present: Bool[Array, "B E T"], alone: float) -> Float[Array, "B E"]:
    """Seconds from step to step between the first and the last that a clip has; `alone` where these are one."""
    place = jnp.arange(time.shape[-1])
    steps, seconds = (
        jnp.where(present, x, -jnp.inf).max(axis=-1) - jnp.where(present, x, jnp.inf).min(axis=-1)
        for x in (place, time)
    )
    return jnp.where(steps > 0, seconds / jnp.maximum(steps, 1), alone)


class StepLayers(nnx.Module):
    """Residual layers in which a step sees its two neighbours: norm, a convolution over three steps, GELU.

    Args:
      width: `D`.
      depth: how many layers; none leaves the steps as they are.
    """

    def __init__(self, width: int, depth: int, *, rngs: nnx.Rngs):
        names = [str(number) for number in range(depth)]
        self.norms = nnx.Dict({name: LayerNorm(width) for name in names})
        self.kernels = nnx.Dict({name: Linear(3 * width, width, axes=("embed", "mlp"), rngs=rngs) for name in names})

    def __call__(self, x: Float[Array, "B E T D"], present: Bool[Array, "B E T"]) -> Float[Array, "B E T D"]:
        """The steps; what stands where there is none means nothing, and no other step sees it."""
        for name in self.kernels:
            y = jnp.where(present[..., None], self.norms[name](x), 0)
            x = x + gelu(self.kernels[name](_neighbours(y)))
        return x


def _neighbours(x: Float[Array, "B E T D"]) -> Float[Array, "B E T three_D"]:
    """Beside each step the one before and the one behind it, zero beyond the ends."""
    edge = jnp.zeros_like(x[..., :1, :])
    before = jnp.concatenate([edge, x[..., :-1, :]], axis=-2)
    after = jnp.concatenate([x[..., 1:, :], edge], axis=-2)
    return jnp.concatenate([before, x, after], axis=-1)
