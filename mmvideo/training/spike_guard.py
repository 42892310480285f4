"""Which steps stand out so far from those before them that they are better left out; see `config.Spike`."""

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
    """What is known of the steps before.

    Attributes:
      loss, norm: float32, running means of the loss and of the gradient's norm over the steps that counted.
      counted: int32, how many did, skipped ones left out.
      skipped: int32, how many were skipped as spikes, in all.
    """

    loss: Any
    norm: Any
    counted: Any
    skipped: Any


def init_spike_state() -> SpikeState:
    """Before the first step."""
    # Each has a buffer of its own, for the state is donated.
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
    """Whether a step counts, and what is known after it.

    Args:
      seen: of the steps before; None where spikes are not skipped.
      loss: of this step, summed over the objectives.
      norm: global, of its gradient, before any clipping.
      finite: whether both are.
      config: the factors.

    Returns:
      Whether the step is finite and no spike; the running means have then moved towards it.
    """
    if seen is None or config is None:
        return finite, seen
    stands_out = jnp.zeros((), bool)
    if config.loss is not None:
        stands_out |= loss > config.loss * seen.loss
    if config.gradient is not None:
        stands_out |= norm > config.gradient * seen.norm
    spike = finite & stands_out & (seen.counted >= config.warmup)
    accepted = finite & ~spike
    counted = seen.counted + accepted
    # A plain mean until the window is full, so that the first step does not weigh more than the others.
    weight = 1.0 / jnp.clip(counted, 1, config.window)

    def move(mean: Array, new: Array) -> Array:
        return jnp.where(accepted, mean + weight * (new.astype(jnp.float32) - mean), mean)

    return accepted, SpikeState(move(seen.loss, loss), move(seen.norm, norm), counted, seen.skipped + spike)


def spike_metrics(before: SpikeState | None, after: SpikeState | None) -> dict[str, Any]:
    """The metrics of a step where spikes are skipped; nothing where they are not."""
    if before is None or after is None:
        return {}
    return {
        "spike": after.skipped > before.skipped,
        "spikes_total": after.skipped,
        "usual_loss": before.loss,
        "usual_norm": before.norm,
    }
