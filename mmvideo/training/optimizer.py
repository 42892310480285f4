"""Optimisers from optax: schedule, clipping, decoupled weight decay on matrices, accumulation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from mmvideo.training.config import Optimizer

MATRICES = {
    "qkv_kernel": MuonDimensionNumbers((-4,), (-2, -1)),
    "out_kernel": MuonDimensionNumbers((-3, -2), (-1,)),
    "conv_kernel": MuonDimensionNumbers((-4, -3, -2), (-1,)),
    "out_a_kernel": MuonDimensionNumbers((-3, -2), (-1,)),
    **{f"{name}_b_kernel": MuonDimensionNumbers((-3,), (-2, -1)) for name in ("query", "key", "value")},
}
"""Axes of a kernel that are rows and columns of a matrix for Muon, counted from the end; the last two for all others.

Queries, keys and values are one matrix each, whose columns are those of all heads.
"""

MUON_RMS = 0.2
"""Root mean square of Muon's updates: about that of Adam's, so that one learning rate serves both (Liu et al. 2025)."""


def make_schedule(config: Optimizer, steps: int) -> optax.Schedule:
    """Return the learning rate by batch number: linear from 0 over `warmup`, then the shape of the schedule.

    Args:
      config: the optimiser's settings.
      steps: batches in the run, after which `cosine` and `linear` reach `final_share` of the highest rate.

    Raises:
      ValueError: the schedule is unknown, or the warm-up is at least as long as the run.
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
    # join_schedules counts the second schedule from the boundary, so `after` has steps - warmup steps.
    return optax.join_schedules([optax.linear_schedule(0.0, high, config.warmup), after], [config.warmup])


def decayed(params: Any) -> Any:
    """Return a mask of the parameters with weight decay: the matrices, which are named `kernel` or `…_kernel`.

    Norms, biases, tables, positions, scales and temperatures have other names. The number of axes does not identify
    matrices: scanned layers are stacked along a leading axis, which makes a bias two-dimensional.

    Args:
      params: nested dicts of arrays.

    Returns:
      The same nesting of bools.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: _words(path)[-1] == "kernel", params)


def _words(path: tuple[Any, ...]) -> list[str]:
    """Return the words of a parameter's own name."""
    return jax.tree_util.keystr(path[-1:], simple=True).split("_")


def make_optimizer(config: Optimizer, steps: int, rates: Any = None) -> optax.GradientTransformation:
    """Return the optimiser: clip, apply the named rule, decay the matrices, scale by the learning rate, accumulate.

    Weight decay is decoupled (Loshchilov and Hutter, arXiv 1711.05101, section 2) in all optimisers. `muon` applies to
    the matrices (arXiv 2502.16982), with Adam (`b1`, `b2` and `eps`) for the rest. The momentum of `sgd` is `b1`. See
    `_adafactor` for `adafactor`.

    Args:
      config: the optimiser's settings.
      steps: batches in the run.
      rates: relative learning rate of each parameter, or of each layer of a stack (`TrainableParams.rates`); None for
        1.

    Raises:
      ValueError: the optimiser is unknown, or the accumulation is below 1.
    """
    if config.accumulate < 1:
        raise ValueError(f"optimizer.accumulate={config.accumulate} must be at least 1")
    schedule = make_schedule(config, steps)
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip is not None else []
    parts += [
        _rule(config),
        optax.add_decayed_weights(config.weight_decay, mask=decayed),
        *([] if rates is None else [_scale_by(rates)]),
        # The schedule counts batches, the optimiser counts updates: with 4 batches an update, update 3 has the rate of
        # batch 12.
        optax.scale_by_learning_rate(lambda update: schedule(update * config.accumulate)),
    ]
    optimizer = optax.chain(*parts)
    if config.accumulate == 1:
        return optimizer
    return optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()


def _scale_by(rates: Any) -> optax.GradientTransformation:
    """Return a transformation that multiplies each update by its factor, or by the factors of its layers."""
    return optax.stateless(lambda updates, _: jax.tree.map(lambda update, rate: update * rate, updates, rates))


def _rule(config: Optimizer) -> optax.GradientTransformation:
    """Return the optimiser without its learning rate and decay."""
    numbers = config.moments()
    if config.name == "adamw":
        return optax.scale_by_adam(**numbers)
    if config.name == "muon":
        return _muon(**numbers)
    if config.name == "lion":
        return optax.scale_by_lion(**numbers)
    if config.name == "adafactor":
        return _adafactor(**numbers)
    return optax.trace(numbers["b1"])


def _adafactor(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Return Adafactor as used to scale vision transformers (Zhai et al., arXiv 2106.04560, on its optimisers).

    The second moment is factored where two axes have 32 or more rows. In update `t` it keeps `1 - t^-0.8` of itself,
    but at most `b2`. It is followed by momentum in half precision, a mean that starts at 0. There are no relative step
    sizes and no clipping of updates. Values that the paper leaves open are those of its code (big_vision,
    `scale_by_adafactor`).
    """

    def kept(step: jax.Array, exponent: float) -> jax.Array:
        # optax counts from 0, the paper from 1: at step 0 nothing of the second moment is kept, 1 - 1 = 0.
        return jnp.minimum(b2, 1.0 - (jnp.asarray(step, jnp.float32) + 1.0) ** -exponent)

    scaled = optax.scale_by_factored_rms(
        decay_rate=0.8, min_dim_size_to_factor=32, epsilon=eps, decay_rate_fn=kept
    )  # fmt: skip
    momentum = [optax.ema(b1, debias=False, accumulator_dtype=jnp.bfloat16)] if b1 else []
    return optax.chain(scaled, *momentum)


def _muon(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Return momentum with orthogonalised matrices (Jordan et al. 2024), and Adam for all other parameters."""
    return muon(
        learning_rate=-1.0,  # the sign that optax's own learning rate turns; ours comes at the end of the chain
        eps=eps,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=MUON_RMS,
    )


def _matrices(params: Any) -> Any:
    """Return the matrix axes of each kernel; None for parameters that Muon leaves to Adam."""

    def axes(path: tuple[Any, ...], matrix: bool) -> MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return MATRICES.get(name, MuonDimensionNumbers((-2,), (-1,))) if matrix else None

    return jax.tree_util.tree_map_with_path(axes, decayed(params))
