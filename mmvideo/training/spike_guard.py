"""Detection of spikes: steps with a loss or gradient far above those before; see `config.Spike`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmvideo.training.config import Spike


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpikeState:
    """Running statistics of the accepted steps.

    Attributes:
      loss, norm: float32, running means of the loss and of the gradient norm over the accepted steps.
      counted: int32, number of accepted steps.
      skipped: int32, total number of steps skipped as spikes.
    """

    loss: Any
    norm: Any
    counted: Any
    skipped: Any


def init_spike_state() -> SpikeState:
    """Return the state before the first step."""
    # Each field has its own buffer, because the state is donated.
    return SpikeState(
        loss=jnp.zeros((), jnp.float32),
        norm=jnp.zeros((), jnp.float32),
        counted=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
    )


def is_spike(
    seen: SpikeState | None,
    loss: Float[Array, ""],
    norm: Float[Array, ""],
    finite: Bool[Array, ""],
    config: Spike | None,
) -> tuple[Bool[Array, ""], SpikeState | None]:
    """Return whether a step is accepted, and the state after it.

    Args:
      seen: state of the steps before; None where spikes are not skipped.
      loss: loss of this step, summed over the objectives.
      norm: global norm of its gradient, before any clipping.
      finite: whether both are finite.
      config: the factors.

    Returns:
      Whether the step is finite and no spike, and the running means, moved towards it if it is accepted.
    """
    if seen is None or config is None:
        return finite, seen
    stands_out = jnp.zeros((), bool)
    if config.loss is not None:
        stands_out |= loss > config.loss * seen.loss
    if config.gradient is not None:
        stands_out |= norm > config.gradient * seen.norm
    # No spikes during the warm-up: the running means are not yet reliable.
    spike = finite & stands_out & (seen.counted >= config.warmup)
    accepted = finite & ~spike
    counted = seen.counted + accepted
    # A plain mean until the window is full, so that the first step does not weigh more than the others. With a window
    # of 100 the weights are 1, 1/2, 1/3 to 1/100, and 1/100 from then on.
    weight = 1.0 / jnp.clip(counted, 1, config.window)

    def move(mean: Array, new: Array) -> Array:
        return jnp.where(accepted, mean + weight * (new.astype(jnp.float32) - mean), mean)

    return accepted, SpikeState(move(seen.loss, loss), move(seen.norm, norm), counted, seen.skipped + spike)


def spike_metrics(before: SpikeState | None, after: SpikeState | None) -> dict[str, Any]:
    """Return the spike metrics of a step; empty where spikes are not skipped."""
    if before is None or after is None:
        return {}
    return {
        "spike": after.skipped > before.skipped,
        "spikes_total": after.skipped,
        "usual_loss": before.loss,
        "usual_norm": before.norm,
    }
