"""What a step of training holds on one device, told from its programs, traced abstractly."""

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
    """Bytes on one device: parameters are cut as the mesh says.

    The rows are traced as a device's own, and their tokens as cut evenly over the mesh axes that `length` is cut by.
    Activations are taken as whole along `tensor`, which makes them an upper bound there.

    Args:
      experiment: the settings.
      learner: with the model of `rehearsed`.
      batch: the rows of one device.
      sizes: devices along each axis of the mesh.
      update: what `update_bytes` gives, where it is known.
    """
    trained, axes = learner.trained, _trained_axes(learner)
    whole, moved = tree_bytes(trained), share_bytes(trained, axes, sizes)
    parameters, optimizer, average = held_bytes(experiment, learner, sizes)
    # Loss and other variables are whole on every device.
    shares = [1.0] * (1 + len(jax.tree.leaves(learner.rest))) + [
        1 / parts for parts in shard_factors(trained, axes, sizes)
    ]
    gradient = gradient_of(learner)
    backward = peak_bytes(gradient, learner.trained, learner.params, learner.rest, batch, shares=shares) - moved
    update = update_bytes(experiment, learner) if update is None else update
    return Memory(
        parameters=parameters,
        gradients=moved,
        optimizer=optimizer,
        average=average,
        batch=tree_bytes(batch),
        activations=max(backward // shard_factor("length", sizes), round(update * moved / whole), 0),
    )


def held_bytes(experiment: Experiment, learner: AbstractModel, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """Bytes of parameters (other variables included), optimiser and average on one device; see `step_memory`.

    With one device along each axis they are those of a checkpoint.
    """
    trained = learner.trained
    state = jax.eval_shape(_optimizer(experiment, learner).init, trained)
    held = share_bytes(learner.params, _leaves(learner.axes), sizes)
    # The optimiser's moments lie where their parameters lie.
    share = share_bytes(trained, _trained_axes(learner), sizes) / tree_bytes(trained)
    return (
        held + tree_bytes(learner.rest),
        round(tree_bytes(state) * share),
        held if experiment.training.averages else 0,
    )


def update_bytes(experiment: Experiment, learner: AbstractModel) -> int:
    """Bytes that the optimiser works with beside what it holds, on a device that holds all of it; rows change nothing.

    New moments and parameters are written in the place of the old ones; what Muon multiplies on the way is not.
    """
    optimizer, trained = _optimizer(experiment, learner), learner.trained
    state = jax.eval_shape(optimizer.init, trained)
    return peak_bytes(optimizer.update, trained, state, trained, shares=[0.0] * 2 * len(jax.tree.leaves(state)))


def _optimizer(experiment: Experiment, learner: AbstractModel) -> optax.GradientTransformation:
    return make_optimizer(experiment.training.optimizer, experiment.training.steps, learner.portion.rates)


def _trained_axes(learner: AbstractModel) -> list[tuple[str | None, ...] | None]:
    return _leaves(learner.portion.filter(learner.axes))


def _leaves(axes: Any) -> list[tuple[str | None, ...] | None]:
    """The names of the axes of each parameter, in the order of the leaves."""
    return jax.tree.leaves(axes, is_leaf=lambda node: node is None or isinstance(node, tuple))
