"""Targets of moments for every step of a video, and losses between time windows and between steps.

Letters: `W` moments of a clip, `T` steps. A window is `[start, end]`.
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
    """Targets of each step (Lin et al. 2023, section 3).

    Attributes:
      known: Mask of the clips with known moments; the other fields are meaningless for the rest.
      moments: Moments of the clips within the view, in seconds; empty where there is none.
      foreground: Mask of the steps that lie in a moment.
      window: Moment of each such step; the shortest of several.
    """

    known: Bool[Array, "B E"]
    moments: Float[Array, "B E W 2"]
    foreground: Bool[Array, "B E T"]
    window: Float[Array, "B E T 2"]


def step_targets(moments: Float[Array, "B E W 2"], steps: Steps) -> StepTargets:
    """Return the targets of the steps that a clip has.

    A step lies in a moment if its middle does. It also does if the moment's middle lies in the step, so that even the
    shortest moment has a step. Where moments overlap, the shortest counts, like the smallest of several boxes (Tian et
    al. 2019, section 3.1).

    Args:
      moments: Moments in seconds from the start of the view, NaN where there is none. They are cut to the view; a clip
        whose moments all lie outside has no foreground.
      steps: Steps of the clips.
    """
    given = jnp.isfinite(moments).all(axis=-1)
    inside = jnp.clip(jnp.where(given[..., None], moments, 0), 0, steps.length[..., None, None])
    start, end = inside[..., :1], inside[..., 1:]
    at = steps.time[..., None, :]
    size = end - start
    # Steps of 2 s with middles 1, 3, 5. Moment [2.5, 5.2] holds middles 3 and 5. Moment [3.2, 3.4] holds none, but its
    # middle 3.3 is within 1 s of the middle 3.
    within = (start <= at) & (at <= end)
    around = jnp.abs(at - (start + end) / 2) <= steps.seconds[..., None, None] / 2
    own = (size > 0) & (within | around) & steps.present[..., None, :]
    # Moments of 4 s and 10 s that both hold the step: sizes [4, 10], so the first. A step without any takes window 0,
    # unused.
    shortest = jnp.where(own, size, jnp.inf).argmin(axis=-2)
    window = jnp.take_along_axis(inside, shortest[..., None], axis=-2)
    return StepTargets(given.any(axis=-1), inside, own.any(axis=-2), window)


def overlap(
    a: Float[Array, "*#batch 2"], b: Float[Array, "*#batch 2"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Return intersection over union of two windows, and the generalised one (Rezatofighi et al. 2019, algorithm 1).

    The latter subtracts the share of the common hull that neither window covers, and so also measures their distance.
    For two empty windows both are 0 or less.
    """
    # [0, 2] and [1, 4]: both 1, either 4, ratio 0.25, hull 4, generalised 0.25.
    # [0, 1] and [3, 4]: both 0, either 2, ratio 0, hull 4, generalised -0.5.
    both = jnp.maximum(jnp.minimum(a[..., 1], b[..., 1]) - jnp.maximum(a[..., 0], b[..., 0]), 0)
    either = a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - both
    hull = jnp.maximum(a[..., 1], b[..., 1]) - jnp.minimum(a[..., 0], b[..., 0])
    ratio = both / jnp.maximum(either, 1e-6)
    return ratio, ratio - (hull - either) / jnp.maximum(hull, 1e-6)


def ranking(
    logit: Float[Array, "*batch T"], wanted: Float[Array, "*batch T"], counted: Bool[Array, "*batch T"]
) -> tuple[Float[Array, "*batch T"], Bool[Array, "*batch T"]]:
    """Return, for each step `p`, `-log exp(s_p) / (exp(s_p) + sum over j exp(s_j))` over all less salient steps `j`.

    It is the contrastive loss within a video of UniVTG (Lin et al. 2023, section 4.2), whose scores are cosines over a
    temperature, and which draws one step `p` a video instead of all.

    Returns:
      The loss of every step, and a mask of the counted steps with a less salient counted one.
    """
    lower = counted[..., None, :] & (wanted[..., None, :] < wanted[..., :, None])
    # softplus(log sum_j e^s_j - s_p) = -log(e^s_p / (e^s_p + sum_j e^s_j)).
    others = jax.nn.logsumexp(jnp.where(lower, logit[..., None, :], NEG_INF), axis=-1)
    return jax.nn.softplus(others - logit), counted & lower.any(axis=-1)
