"""One step: gradient of the learner's losses, update, moving average; a bad step changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.stream import PADDING, TokenStream
from mmvideo.training.config import Training
from mmvideo.training.optimizer import make_optimizer, make_schedule
from mmvideo.training.state import TrainState

Metrics = dict[str, Float[Array, ""]]
Step = Callable[[TrainState, TokenStream], tuple[TrainState, Metrics]]


def make_step(graphdef: Any, config: Training) -> Step:
    """The jitted training step `(state, stream) -> (state, metrics)`; the state is donated.

    Where the loss or the global norm of the gradient is not finite, parameters, optimiser state and
    moving average stay as they were and the step is counted. An accumulated update then takes
    one batch more.

    Args:
      graphdef: of a learner with `losses(stream) -> (scalar, dict of scalars)`.
      config: the optimiser, the length of the run and the decay of the moving average.

    Returns:
      Metrics are float32 scalars: the learner's under `train/`, and `grad_norm`, `learning_rate`,
      `clips`, `tokens`, `slots`, `skipped` (1 if this step was), `skipped_total` and `bad_in_a_row`.
    """
    optimizer = make_optimizer(config.optimizer, config.steps)
    schedule = make_schedule(config.optimizer, config.steps)
    every = config.optimizer.accumulate

    def losses(params: Any, variables: Any, stream: TokenStream) -> tuple[Any, tuple[Any, Any]]:
        learner = nnx.merge(graphdef, params, variables)
        total, metrics = learner.losses(stream)
        return total, (metrics, nnx.to_pure_dict(nnx.state(learner, nnx.Not(nnx.Param))))

    def step(state: TrainState, stream: TokenStream) -> tuple[TrainState, Metrics]:
        gradient = jax.value_and_grad(losses, has_aux=True)
        (loss, (learned, variables)), grads = gradient(state.params, state.variables, stream)
        norm = optax.global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        good = state.step - state.skipped
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = average(state.ema, params, config.ema, updated=(good + 1) % every == 0)

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

        after = TrainState(
            step=state.step + 1,
            params=keep(params, state.params),
            variables=keep(variables, state.variables),
            opt_state=keep(opt_state, state.opt_state),
            ema=keep(ema, state.ema),
            skipped=state.skipped + ~finite,
            bad_in_a_row=jnp.where(finite, 0, state.bad_in_a_row + 1),
        )
        metrics = {f"train/{name}": value for name, value in learned.items()} | {
            "train/loss": loss,
            "grad_norm": norm,
            "learning_rate": schedule(good // every * every),
            **count(stream),
            "skipped": ~finite,
            "skipped_total": after.skipped,
            "bad_in_a_row": after.bad_in_a_row,
        }
        return after, jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), metrics)

    return jax.jit(step, donate_argnums=0)


def average(ema: Any, params: Any, decay: float | None, updated: Any) -> Any:
    """The moving average `decay * ema + (1 - decay) * params`, where there was an update; None stays None."""
    if ema is None or decay is None:
        return None
    weight = jnp.where(updated, 1.0 - decay, 0.0)
    return jax.tree.map(lambda old, new: old + weight.astype(old.dtype) * (new - old), ema, params)


def count(stream: TokenStream) -> dict[str, Any]:
    """How much a global batch holds: clips, tokens, and slots for tokens."""
    return {
        "clips": jnp.sum(stream.clips.number != PADDING),
        "tokens": jnp.sum(stream.layout.real),
        "slots": jnp.asarray(stream.layout.modality.size),
    }
