"""What a run carries from step to step, and how it comes into being: sharded from the first moment."""

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
    """Everything that a resumed run must have back, bit for bit.

    Its leaves are arrays, or what stands for them: `jax.ShapeDtypeStruct`, shardings.

    Attributes:
      step: int32, batches seen, skipped ones included.
      params: the learner's parameters, nested dicts of arrays.
      variables: its other variables (random streams, a teacher's parameters); often empty.
      opt_state: of the optimiser, which knows the trained parameters only.
      ema: average of the parameters, moving or plain, or None.
      skipped: int32, steps whose loss or gradient was not finite, in all.
      bad_in_a_row: int32, how many of the last steps were skipped, for that or as spikes.
      spikes: `spike_guard.SpikeState`, what is known of the steps before, or None where spikes are not skipped.
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
    """A run's state before a number of it is computed.

    Attributes:
      graphdef: the learner without its arrays.
      abstract: shapes, dtypes and shardings of the state.
      create: computes the first state, each device its own part of it.
      portion: which parameters are trained.
    """

    graphdef: Any
    abstract: TrainState
    create: Callable[[], TrainState]
    portion: TrainableParams


def init_abstract(learner_fn: Callable[[nnx.Rngs], nnx.Module], config: Training, mesh: Mesh) -> AbstractTrainState:
    """The blueprint of a learner's state on a mesh.

    Optimiser state lies where its parameters lie, other variables where their own metadata `axes` says.

    Args:
      learner_fn: makes the learner from random streams; called under tracing only.
      config: gives the seed, the optimiser, what is trained and whether an average is kept.
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
    """The state before the first step. Nothing in it shares a buffer, so all of it may be donated.

    Args:
      params, variables: of the learner, nested dicts.
      optimizer: of the trained parameters.
      config: says whether an average is kept.
      portion: which parameters are trained; None: all.
    """
    ema = jax.tree.map(jnp.copy, params) if config.averages else None
    counters = {name: jnp.zeros((), jnp.int32) for name in ("step", "skipped", "bad_in_a_row")}
    opt_state = optimizer.init(params if portion is None else portion.partition(params))
    spikes = None if config.spike is None else init_spike_state()
    return TrainState(params=params, variables=variables, opt_state=opt_state, ema=ema, spikes=spikes, **counters)


def warm_started(plan: AbstractTrainState, state: TrainState, begin: Callable[[nnx.Module], None]) -> TrainState:
    """A new run's state with what `begin` makes of its learner, laid out as before.

    The optimiser's state stays: before the first step it depends on no parameter's value.
    """
    learner = nnx.merge(plan.graphdef, state.params, state.variables)
    begin(learner)
    _, params, variables = nnx.split(learner, nnx.Param, ...)

    def placed(values: Any, abstract: Any) -> Any:
        return jax.tree.map(lambda value, leaf: jax.device_put(jnp.copy(value), leaf.sharding), values, abstract)

    params = placed(nnx.to_pure_dict(params), plan.abstract.params)
    ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
    variables = placed(nnx.to_pure_dict(variables), plan.abstract.variables)
    return dataclasses.replace(state, params=params, variables=variables, ema=ema)


def eval_model(graphdef: Any, state: TrainState) -> nnx.Module:
    """The learner with the average of its parameters where one is kept, else the parameters.

    It shares the state's buffers, so it ends with the next step.
    """
    params = state.params if state.ema is None else state.ema
    return nnx.merge(graphdef, params, state.variables)
