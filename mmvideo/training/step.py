"""Training step: gradient of the learner's losses, update, moving average; a skipped step changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from mmvideo.stream import PADDING, TokenStream
from mmvideo.training.config import Training
from mmvideo.training.optimizer import make_optimizer, make_schedule
from mmvideo.training.spike_guard import is_spike, spike_metrics
from mmvideo.training.state import TrainState
from mmvideo.training.trainable import trainable_params

Metrics = dict[str, Float[Array, ""]]
Step = Callable[[TrainState, TokenStream], tuple[TrainState, Metrics]]


def make_step(graphdef: Any, config: Training, places: TrainState | None = None) -> Step:
    """Return the jitted training step `(state, stream) -> (state, metrics)`; the state is donated.

    If the loss or the global norm of the gradient is not finite, or the step is a spike (`config.spike`), parameters,
    optimiser state and average stay unchanged and the step is counted. An accumulated update then takes one more batch.

    Args:
      graphdef: graph of a learner with `losses(stream) -> (scalar, dict of scalars)`.
      config: optimiser, length of the run, trained parameters, and average.
      places: shardings of the state; None leaves those of the new state to XLA, which may choose others, so that the
        second step is compiled again.

    Returns:
      The step. Its metrics are float32 scalars: the learner's under `train/`, and `grad_norm`, `learning_rate`,
      `clips`, `tokens`, `slots`, `skipped` (1 if this step was not finite), `skipped_total` and `bad_in_a_row`; where
      spikes are skipped, `spike` (1 if this step was one), `spikes_total`, and the running means `usual_loss` and
      `usual_norm` before the step.
    """
    schedule = make_schedule(config.optimizer, config.steps)
    every = config.optimizer.accumulate

    def step(state: TrainState, stream: TokenStream) -> tuple[TrainState, Metrics]:
        portion = trainable_params(nnx.merge(graphdef, state.params, state.variables), config)
        optimizer = make_optimizer(config.optimizer, config.steps, portion.rates)

        def losses(trained: Any) -> tuple[Any, tuple[Any, Any]]:
            learner = nnx.merge(graphdef, portion.merge(state.params, trained), state.variables)
            total, metrics = learner.losses(stream)
            return total, (metrics, nnx.to_pure_dict(nnx.state(learner, nnx.Not(nnx.Param))))

        trained = portion.partition(state.params)
        (loss, (learned, variables)), grads = jax.value_and_grad(losses, has_aux=True)(trained)
        with jax.named_scope("optimizer"):
            norm = optax.global_norm(grads)
            finite = jnp.isfinite(loss) & jnp.isfinite(norm)
            accepted, spikes = is_spike(state.spikes, loss, norm, finite, config.spike)
            # The optimiser counts accepted batches only: 10 batches of which 2 were skipped are 8.
            good = state.step - state.skipped - (0 if state.spikes is None else state.spikes.skipped)
            updates, opt_state = optimizer.update(grads, state.opt_state, trained)
            params = portion.merge(state.params, optax.apply_updates(trained, updates))
            ema = update_ema(state.ema, params, config, good + 1)

            def keep(new: Any, old: Any) -> Any:
                return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)

            after = TrainState(
                step=state.step + 1,
                params=keep(params, state.params),
                variables=keep(variables, state.variables),
                opt_state=keep(opt_state, state.opt_state),
                ema=keep(ema, state.ema),
                skipped=state.skipped + ~finite,
                bad_in_a_row=jnp.where(accepted, 0, state.bad_in_a_row + 1),
                spikes=spikes,
            )
        metrics = {f"train/{name}": value for name, value in learned.items()} | {
            "train/loss": loss,
            "grad_norm": norm,
            # The rate of the update that this batch belongs to: of 4 accumulated batches, batches 4 to 7 use that of
            # batch 4.
            "learning_rate": schedule(good // every * every),
            **batch_stats(stream),
            "skipped": ~finite,
            "skipped_total": after.skipped,
            "bad_in_a_row": after.bad_in_a_row,
            **spike_metrics(state.spikes, spikes),
        }
        return after, jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), metrics)

    # Fixed output shardings: otherwise XLA may choose others for the new state, and the next call compiles again.
    return jax.jit(step, donate_argnums=0, out_shardings=None if places is None else (places, None))


def update_ema(ema: Any, params: Any, config: Training, good: Int[Array, ""]) -> Any:
    """Return the average of the parameters after a batch; None stays None.

    A moving average is `decay * ema + (1 - decay) * params` at each update. A plain average follows the parameters up
    to batch `average_from`. From there it is the mean over all updates: the `n`-th update moves it by `1 / n` of the
    way (Izmailov et al. 2018, algorithm 1).

    Args:
      ema: the average before, or None.
      params: parameters after the batch.
      config: type of the average, and batches per update.
      good: number of accepted batches, this one included.
    """
    if ema is None or not config.averages:
        return None
    every = config.optimizer.accumulate
    if config.ema is not None:
        weight = jnp.where(good % every == 0, 1.0 - config.ema, 0.0)
    else:
        # average_from 5 with updates every 2 batches: the update after batch 6 is the first averaged one (3 - 2 = 1).
        averaged = good // every - (config.average_from - 1) // every
        weight = jnp.where(good % every == 0, 1.0 / jnp.maximum(averaged, 1), 0.0)

    def move(old: Array, new: Array) -> Array:
        moved = old + weight.astype(old.dtype) * (new - old)
        # At weight 1 copy the parameters: old + (new - old) may differ from new by rounding.
        return moved if config.ema is not None else jnp.where(weight == 1, new, moved)

    return jax.tree.map(move, ema, params)


def batch_stats(stream: TokenStream) -> dict[str, Any]:
    """Return the content of a global batch: clips, tokens, and token slots."""
    return {
        "clips": jnp.sum(stream.clips.clip_index != PADDING),
        "tokens": jnp.sum(stream.layout.is_token),
        "slots": jnp.asarray(stream.layout.modality.size),
    }
