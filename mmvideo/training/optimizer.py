"""Optimisers from optax: schedule, clipping, decoupled weight decay on matrices, accumulation."""

from __future__ import annotations

from typing import Any

import jax
import optax

from mmvideo.training.config import Optimizer


def make_schedule(config: Optimizer, steps: int) -> optax.Schedule:
    """The learning rate at a batch number: linear from 0 over `warmup`, then the schedule's shape.

    Args:
      config: the optimiser's settings.
      steps: batches in the run; `cosine` and `linear` reach `final_share` of the highest rate there.

    Raises:
      ValueError: an unknown schedule, or a warm-up at least as long as the run.
    """
    if config.warmup >= steps and config.warmup > 0:
        raise ValueError(
            f"optimizer.warmup={config.warmup} leaves nothing of training.steps={steps}; shorten the warm-up"
        )
    high, rest = config.learning_rate, steps - config.warmup
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(high, rest, alpha=config.final_share)
    elif config.schedule == "linear":
        after = optax.linear_schedule(high, high * config.final_share, rest)
    elif config.schedule == "constant":
        after = optax.constant_schedule(high)
    else:
        raise ValueError(f"optimizer.schedule '{config.schedule}' is unknown; take cosine, linear or constant")
    if config.warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, high, config.warmup), after], [config.warmup])


def decayed(params: Any) -> Any:
    """Which parameters weight decay pulls on: the matrices, which are those named `kernel` or `…_kernel`.

    Norms, biases, tables, positions, scales and temperatures go by other names. The number of axes
    could not tell: scanned layers are stacked along a leading axis, which makes a bias two-dimensional.

    Args:
      params: nested dicts of arrays.

    Returns:
      The same nesting of bools.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: _words(path)[-1] == "kernel", params)


def _words(path: tuple[Any, ...]) -> list[str]:
    """The words of a parameter's own name."""
    return jax.tree_util.keystr(path[-1:], simple=True).split("_")


def make_optimizer(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """Clip, scale by the named rule, decay the matrices, scale by the learning rate; then accumulate.

    Weight decay is decoupled (Loshchilov and Hutter, arXiv 1711.05101, section 2) for all of the
    optimisers. `adafactor` is the factored second moment with its update clipping and without
    relative step sizes (Zhai et al., arXiv 2106.04560, section 3.6); the momentum of `sgd` is `b1`.

    Raises:
      ValueError: an unknown optimiser, or an accumulation below 1.
    """
    if config.accumulate < 1:
        raise ValueError(f"optimizer.accumulate={config.accumulate} must be at least 1")
    schedule = make_schedule(config, steps)
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip is not None else []
    parts += [
        _rule(config),
        optax.add_decayed_weights(config.weight_decay, mask=decayed),
        # The schedule counts batches, the optimiser counts updates.
        optax.scale_by_learning_rate(lambda update: schedule(update * config.accumulate)),
    ]
    optimizer = optax.chain(*parts)
    if config.accumulate == 1:
        return optimizer
    return optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()


def _rule(config: Optimizer) -> optax.GradientTransformation:
    """The optimiser without its learning rate and decay."""
    if config.name == "adamw":
        return optax.scale_by_adam(config.b1, config.b2, config.eps)
    if config.name == "lion":
        return optax.scale_by_lion(config.b1, config.b2)
    if config.name == "adafactor":
        return optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0))
    if config.name == "sgd":
        return optax.trace(config.b1)
    raise ValueError(f"optimizer.name '{config.name}' is unknown; take adamw, lion, adafactor or sgd")
