"""A bare training loop for tests with known answers: adam on batches made in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from mmvideo.model.config import Model
from mmvideo.objectives import AnyObjective
from mmvideo.objectives.learner import Learner
from mmvideo.stream import StreamSpec, TokenStream


def teach(
    model: Model,
    spec: StreamSpec,
    objectives: Mapping[str, AnyObjective],
    batch: Callable[[int], TokenStream],
    steps: int,
    rate: float = 3e-3,
) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics on a batch that is never learned from (number -1), before and after `steps` steps."""

    def make():
        return Learner(model, spec, objectives, rngs=nnx.Rngs(0))

    graph = nnx.graphdef(nnx.eval_shape(make))
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0.0, rate, steps // 10, steps))

    @jax.jit
    def start():
        parameters = nnx.state(make(), nnx.Param)
        return parameters, optimizer.init(parameters)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters, state, stream):
        gradient = jax.grad(lambda p: nnx.merge(graph, p).losses(stream)[0])(parameters)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state

    @jax.jit
    def measure(parameters, stream):
        return nnx.merge(graph, parameters).losses(stream)[1]

    def on_device(number):
        return jax.tree.map(jnp.asarray, batch(number))

    parameters, state = start()
    before = measure(parameters, on_device(-1))
    for number in range(steps):
        parameters, state = step(parameters, state, on_device(number))
    after = measure(parameters, on_device(-1))
    return {k: float(v) for k, v in before.items()}, {k: float(v) for k, v in after.items()}
