"""State of a run, and its creation: sharded from the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from mmvideo.parallel.rules import follow, shardings
from mmvideo.training.config import Training
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.spike_guard import init_spike_state
from mmvideo.training.trainable import TrainableParams, trainable_params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Complete state that a resumed run restores bit for bit.

    Its leaves are arrays, or their stand-ins: `jax.ShapeDtypeStruct`, shardings.

    Attributes:
      step: int32, batches seen, skipped ones included.
      params: the learner's parameters, nested dicts of arrays.
      variables: its other variables (random streams, a teacher's parameters); often empty.
      opt_state: state of the optimiser, for the trained parameters only.
      ema: average of the parameters, moving or plain, or None.
      skipped: int32, total number of steps with a non-finite loss or gradient.
      bad_in_a_row: int32, number of the last steps skipped in a row, as non-finite or as spikes.
      spikes: `spike_guard.SpikeState`, statistics of the steps before, or None where spikes are not skipped.
    """

    step: Any
    params: Any
    variables: Any
    opt_state: Any
    ema: Any
    skipped: Any
    bad_in_a_row: Any
    spikes: Any = None


@dataclasses.dataclass(frozen=True)
class AbstractTrainState:
    """State of a run before any array is computed.

    Attributes:
      graphdef: the learner without its arrays.
      abstract: shapes, dtypes and shardings of the state.
      create: computes the first state; each device computes its own part.
      portion: the trained part of the parameters.
    """

    graphdef: Any
    abstract: TrainState
    create: Callable[[], TrainState]
    portion: TrainableParams


def init_abstract(learner_fn: Callable[[nnx.Rngs], nnx.Module], config: Training, mesh: Mesh) -> AbstractTrainState:
    """Return the abstract state of a learner on a mesh.

    Optimiser state has the shardings of its parameters; other variables follow their own metadata `axes`.

    Args:
      learner_fn: makes the learner from random streams; called under tracing only.
      config: seed, optimiser, trained parameters, and whether an average is kept.
      mesh: devices with the axes of `mmvideo.parallel.mesh.AXES`.
    """

    def split() -> tuple[Any, Any, Any]:
        return nnx.split(learner_fn(nnx.Rngs(config.seed)), nnx.Param, ...)

    with jax.set_mesh(mesh):
        graphdef, params, variables = jax.eval_shape(split)
        portion = trainable_params(nnx.merge(graphdef, params, variables), config)
        optimizer = make_optimizer(config.optimizer, config.steps, portion.rates)

        def build() -> TrainState:
            _, params, variables = split()
            return new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(variables), optimizer, config, portion)

        # Tracing gives shapes without computing anything: a model larger than one device is never materialised on it.
        abstract = jax.eval_shape(build)
        where = nnx.to_pure_dict(shardings(params, mesh))
        trained = jax.eval_shape(portion.partition, abstract.params)
        places = dataclasses.replace(
            follow(abstract, abstract.params, where, mesh),
            opt_state=follow(abstract.opt_state, trained, portion.filter(where), mesh),
            variables=nnx.to_pure_dict(shardings(variables, mesh)),
        )
    abstract = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), abstract, places
    )

    def create() -> TrainState:
        with jax.set_mesh(mesh):
            return jax.jit(build, out_shardings=places)()

    return AbstractTrainState(graphdef, abstract, create, portion)


def new_state(
    params: Any,
    variables: Any,
    optimizer: optax.GradientTransformation,
    config: Training,
    portion: TrainableParams | None = None,
) -> TrainState:
    """Return the state before the first step. No two leaves share a buffer, so the whole state may be donated.

    Args:
      params, variables: nested dicts of the learner.
      optimizer: optimiser of the trained parameters.
      config: settings, which decide whether an average is kept.
      portion: the trained part of the parameters; None for all.
    """
    # A copy: the donated state must not contain one buffer twice.
    ema = jax.tree.map(jnp.copy, params) if config.averages else None
    counters = {name: jnp.zeros((), jnp.int32) for name in ("step", "skipped", "bad_in_a_row")}
    opt_state = optimizer.init(params if portion is None else portion.partition(params))
    spikes = None if config.spike is None else init_spike_state()
    return TrainState(params=params, variables=variables, opt_state=opt_state, ema=ema, spikes=spikes, **counters)


def warm_started(plan: AbstractTrainState, state: TrainState, begin: Callable[[nnx.Module], None]) -> TrainState:
    """Return a new run's state after `begin` changed its learner, with the same shardings.

    The optimiser's state stays: before the first step it depends on no parameter's value.
    """
    learner = nnx.merge(plan.graphdef, state.params, state.variables)
    begin(learner)
    _, params, variables = nnx.split(learner, nnx.Param, ...)

    def placed(values: Any, abstract: Any) -> Any:
        return jax.tree.map(lambda value, leaf: jax.device_put(jnp.copy(value), leaf.sharding), values, abstract)

    # Copies, because the state is donated: no buffer may be shared with the learner that `begin` filled.
    params = placed(nnx.to_pure_dict(params), plan.abstract.params)
    ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
    variables = placed(nnx.to_pure_dict(variables), plan.abstract.variables)
    return dataclasses.replace(state, params=params, variables=variables, ema=ema)


def eval_model(graphdef: Any, state: TrainState) -> nnx.Module:
    """Return the learner with the average of its parameters if one is kept, else with the parameters.

    It shares the state's buffers, so it is invalid after the next step.
    """
    params = state.params if state.ema is None else state.ema
    return nnx.merge(graphdef, params, state.variables)
