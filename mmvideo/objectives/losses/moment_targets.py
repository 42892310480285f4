"""Moments as an answer for every step of a video, and the losses between stretches of time and between steps.

Letters: `W` moments of a clip, `T` steps. A stretch is `[start, end]`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmvideo.model.transformer.step_pooling import Steps

NEG_INF = -1e9
"""Score of a step that is not compared; finite, so that gradients are."""


class StepTargets(NamedTuple):
    """What is to be answered at each step (Lin et al. 2023, section 3).

    Attributes:
      known: which clips have moments at all; the rest mean nothing elsewhere.
      moments: the clips' moments within the view, in seconds; empty where there is none.
      foreground: the steps that are of a moment.
      window: that moment; of several the shortest.
    """

    known: Bool[Array, "B E"]
    moments: Float[Array, "B E W 2"]
    foreground: Bool[Array, "B E T"]
    window: Float[Array, "B E T 2"]


def step_targets(moments: Float[Array, "B E W 2"], steps: Steps) -> StepTargets:
    """The targets of the steps that a clip has.

    A step is of a moment if its middle lies in the moment; and if the moment's middle lies in the step, so
    that none is too short to be of any. Where moments overlap the shortest counts, as of boxes the smallest
    (Tian et al. 2019, section 3.1).

    Args:
      moments: in seconds after the start of the view, NaN where there is none. What lies outside of the view is
        cut off; a clip whose moments all lie outside has no foreground.
      steps: of the clips.
    """
    given = jnp.isfinite(moments).all(axis=-1)
    inside = jnp.clip(jnp.where(given[..., None], moments, 0), 0, steps.length[..., None, None])
    start, end = inside[..., :1], inside[..., 1:]
    at, size = steps.time[..., None, :], end - start
    within = (start <= at) & (at <= end)
    around = jnp.abs(at - (start + end) / 2) <= steps.seconds[..., None, None] / 2
    own = (size > 0) & (within | around) & steps.present[..., None, :]
    shortest = jnp.where(own, size, jnp.inf).argmin(axis=-2)
    window = jnp.take_along_axis(inside, shortest[..., None], axis=-2)
    return StepTargets(given.any(axis=-1), inside, own.any(axis=-2), window)


def overlap(
    a: Float[Array, "*#batch 2"], b: Float[Array, "*#batch 2"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Intersection over union of two stretches, and the generalised one (Rezatofighi et al. 2019, algorithm 1).

    The latter takes off the share of their common hull that neither covers, and so also tells how far apart
    they are. Of two empty ones both are 0 or less.
    """
    both = jnp.maximum(jnp.minimum(a[..., 1], b[..., 1]) - jnp.maximum(a[..., 0], b[..., 0]), 0)
    either = a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - both
    hull = jnp.maximum(a[..., 1], b[..., 1]) - jnp.minimum(a[..., 0], b[..., 0])
    ratio = both / jnp.maximum(either, 1e-6)
    return ratio, ratio - (hull - either) / jnp.maximum(hull, 1e-6)


def ranking(
    logit: Float[Array, "*batch T"], wanted: Float[Array, "*batch T"], counted: Bool[Array, "*batch T"]
) -> tuple[Float[Array, "*batch T"], Bool[Array, "*batch T"]]:
    """For each step `p`, `-log exp(s_p) / (exp(s_p) + sum over j exp(s_j))` with all steps `j` that are less salient.

    It is the contrast within a video of UniVTG (Lin et al. 2023, section 4.2), whose scores are cosines
    over a temperature, and which draws one step `p` a video in place of all.

    Returns:
      The loss of every step, and whether it is counted and any counted one is less salient.
    """
    lower = counted[..., None, :] & (wanted[..., None, :] < wanted[..., :, None])
    others = jax.nn.logsumexp(jnp.where(lower, logit[..., None, :], NEG_INF), axis=-1)
    return jax.nn.softplus(others - logit), counted & lower.any(axis=-1)
