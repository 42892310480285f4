"""The memory of a training step on one device, from abstract traces of its programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from mmvideo.cost_model.memory import Memory, shard_factor, shard_factors, share_bytes, tree_bytes
from mmvideo.cost_model.peak_memory import peak_bytes
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_model import AbstractModel, gradient_of
from mmvideo.stream import TokenStream
from mmvideo.training.optimizer import make_optimizer


def step_memory(
    experiment: Experiment,
    learner: AbstractModel,
    batch: TokenStream,
    sizes: Mapping[str, int],
    update: int | None = None,
) -> Memory:
    """Return the bytes on one device, with parameters sharded as on the mesh.

    The trace uses the rows of one device, with tokens divided evenly over the mesh axes of `length`. Activations are
    not divided along `tensor`, so their bytes are an upper bound there.

    Args:
      experiment: the settings.
      learner: learner with the model of `for_memory`.
      batch: rows of one device.
      sizes: devices along each axis of the mesh.
      update: result of `update_bytes`, if known.
    """
    trained, axes = learner.trained, _trained_axes(learner)
    whole, moved = tree_bytes(trained), share_bytes(trained, axes, sizes)
    parameters, optimizer, average = held_bytes(experiment, learner, sizes)
    # One share per output of the gradient program: the loss and other variables are replicated (1.0), the gradient of a
    # parameter that is sharded over 8 devices takes 1/8.
    shares = [1.0] * (1 + len(jax.tree.leaves(learner.rest))) + [
        1 / parts for parts in shard_factors(trained, axes, sizes)
    ]
    gradient = gradient_of(learner)
    # The peak includes the gradients, which Memory lists separately: they are subtracted.
    backward = peak_bytes(gradient, learner.trained, learner.params, learner.rest, batch, shares=shares) - moved
    update = update_bytes(experiment, learner) if update is None else update
    return Memory(
        parameters=parameters,
        gradients=moved,
        optimizer=optimizer,
        average=average,
        batch=tree_bytes(batch),
        # The optimizer runs after the backward pass, whose activations are free by then, so the larger of the two
        # counts.
        activations=max(backward // shard_factor("length", sizes), round(update * moved / whole), 0),
    )


def held_bytes(experiment: Experiment, learner: AbstractModel, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """Return the bytes of parameters (with other variables), optimizer state and average on one device.

    With one device along each axis these are the bytes of a checkpoint. See `step_memory`.
    """
    trained = learner.trained
    state = jax.eval_shape(_optimizer(experiment, learner).init, trained)
    held = share_bytes(learner.params, _leaves(learner.axes), sizes)
    # Moments are sharded like their parameters: if 1 of 8 GiB of parameters is here, so is 1/8 of the optimizer state.
    share = share_bytes(trained, _trained_axes(learner), sizes) / tree_bytes(trained)
    return (
        held + tree_bytes(learner.rest),
        round(tree_bytes(state) * share),
        held if experiment.training.averages else 0,
    )


def update_bytes(experiment: Experiment, learner: AbstractModel) -> int:
    """Return the scratch bytes of the optimizer on a device that holds all of its state; they do not depend on rows.

    New moments and parameters overwrite the old ones; the intermediate products of Muon do not.
    """
    optimizer, trained = _optimizer(experiment, learner), learner.trained
    state = jax.eval_shape(optimizer.init, trained)
    return peak_bytes(optimizer.update, trained, state, trained, shares=[0.0] * 2 * len(jax.tree.leaves(state)))


def _optimizer(experiment: Experiment, learner: AbstractModel) -> optax.GradientTransformation:
    """Return the optimizer of the experiment."""
    return make_optimizer(experiment.training.optimizer, experiment.training.steps, learner.portion.rates)


def _trained_axes(learner: AbstractModel) -> list[tuple[str | None, ...] | None]:
    """Return the axis names of the trained parameters."""
    return _leaves(learner.portion.filter(learner.axes))


def _leaves(axes: Any) -> list[tuple[str | None, ...] | None]:
    """Return the axis names of each parameter, in the order of the leaves."""
    # Tuples such as ("embed", "heads") are leaves here, and None is a leaf rather than an empty node.
    return jax.tree.leaves(axes, is_leaf=lambda node: node is None or isinstance(node, tuple))
