"""One step: gradient of the learner's losses, update, moving average; a bad step changes nothing."""

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
    """The jitted training step `(state, stream) -> (state, metrics)`; the state is donated.

    Where the loss or the global norm of the gradient is not finite, or is a spike (`config.spike`), parameters,
    optimiser state and average stay as they were and the step is counted. An accumulated update then takes one
    batch more.

    Args:
      graphdef: of a learner with `losses(stream) -> (scalar, dict of scalars)`.
      config: the optimiser, the length of the run, what is trained, and which average is kept.
      places: shardings of the state; None leaves those of the new one to XLA, which may choose others, so that
        the second step is compiled again.

    Returns:
      Metrics are float32 scalars: the learner's under `train/`, and `grad_norm`, `learning_rate`,
      `clips`, `tokens`, `slots`, `skipped` (1 if this step was not finite), `skipped_total` and `bad_in_a_row`;
      where spikes are skipped, `spike` (1 if this step was one), `spikes_total`, and the running means
      `usual_loss` and `usual_norm` before the step.
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
            "learning_rate": schedule(good // every * every),
            **batch_stats(stream),
            "skipped": ~finite,
            "skipped_total": after.skipped,
            "bad_in_a_row": after.bad_in_a_row,
            **spike_metrics(state.spikes, spikes),
        }
        return after, jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), metrics)

    return jax.jit(step, donate_argnums=0, out_shardings=None if places is None else (places, None))


def update_ema(ema: Any, params: Any, config: Training, good: Int[Array, ""]) -> Any:
    """The average of the parameters behind a batch; None stays None.

    A moving one is `decay * ema + (1 - decay) * params` at each update. A plain one follows the parameters up to
    batch `average_from`, and from there is the mean of what each update has made: the `n`-th moves it by `1 / n` of
    the way (Izmailov et al. 2018, algorithm 1).

    Args:
      ema: the average before, or None.
      params: as the batch has left them.
      config: which average, and how many batches an update takes.
      good: batches so far that counted, this one included.
    """
    if ema is None or not config.averages:
        return None
    every = config.optimizer.accumulate
    if config.ema is not None:
        weight = jnp.where(good % every == 0, 1.0 - config.ema, 0.0)
    else:
        averaged = good // every - (config.average_from - 1) // every
        weight = jnp.where(good % every == 0, 1.0 / jnp.maximum(averaged, 1), 0.0)

    def move(old: Array, new: Array) -> Array:
        moved = old + weight.astype(old.dtype) * (new - old)
        return moved if config.ema is not None else jnp.where(weight == 1, new, moved)

    return jax.tree.map(move, ema, params)


def batch_stats(stream: TokenStream) -> dict[str, Any]:
    """How much a global batch holds: clips, tokens, and slots for tokens."""
    return {
        "clips": jnp.sum(stream.clips.clip_index != PADDING),
        "tokens": jnp.sum(stream.layout.is_token),
        "slots": jnp.asarray(stream.layout.modality.size),
    }
