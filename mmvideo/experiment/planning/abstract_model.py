"""The learner and the streams of an experiment without a number in them: what a launch is planned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import unflatten_dict

from mmvideo.experiment.build_learner import make_learner
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import BatchOutline, batch_outline
from mmvideo.model.config import Model, dense_reference
from mmvideo.model.kinds import ModelConfig
from mmvideo.objectives import Moments, Regression
from mmvideo.objectives.learner import Learner
from mmvideo.stream import StreamSpec, TokenStream
from mmvideo.training.trainable import TrainableParams, trainable_params

BLOCK = 128
"""Keys that a fused kernel of attention holds at once."""


@dataclasses.dataclass(frozen=True)
class AbstractModel:
    """A learner without a number in it.

    Attributes:
      spec: of its streams.
      graphdef: its structure.
      params, rest: parameters and other variables, nested dicts of shapes.
      axes: names of the logical axes of each parameter, nested as the parameters.
      portion: which parameters are trained.
    """

    spec: StreamSpec
    graphdef: Any
    params: Any
    rest: Any
    axes: Any
    portion: TrainableParams

    def merged(self, params: Any, rest: Any) -> Learner:
        """The learner with these arrays."""
        return nnx.merge(self.graphdef, params, rest)

    @property
    def trained(self) -> Any:
        """Shapes of the trained parameters."""
        return jax.eval_shape(self.portion.partition, self.params)


def sketched(experiment: Experiment) -> BatchOutline:
    """The streams of an experiment, with all that its objectives ask of a clip; raises as `batch_outline` does."""
    moments = any(isinstance(objective, Moments) for objective in experiment.objectives.values())
    return batch_outline(experiment.input, labels(experiment), numbers(experiment), moments)


def labels(experiment: Experiment) -> tuple[str, ...]:
    """Kinds of classes that the objectives ask for."""
    found = _labelled(experiment, lambda objective: not isinstance(objective, Regression))
    return tuple(dict.fromkeys(found))


def numbers(experiment: Experiment) -> tuple[str, ...]:
    """Kinds of numbers that the objectives ask for."""
    return tuple(dict.fromkeys(_labelled(experiment, lambda objective: isinstance(objective, Regression))))


def _labelled(experiment: Experiment, fits: Callable[[Any], bool]) -> list[str]:
    named = (objective for objective in experiment.objectives.values() if fits(objective))
    return [objective.label for objective in named if getattr(objective, "label", None) is not None]


def for_flops(model: ModelConfig) -> ModelConfig:
    """The model as its products are counted: dense attention, nothing computed twice."""
    return dense_reference(model) if isinstance(model, Model) else model


def for_memory(model: ModelConfig) -> ModelConfig:
    """The model as its bytes are told: attention in small blocks of keys, as fused kernels have it.

    With blocks as large as those of the chunked backend, which are made for CPUs, their scores would be counted, which
    a kernel never writes to memory.
    """
    if not isinstance(model, Model) or model.attention in ("xla", "chunked"):
        return model
    return dataclasses.replace(model, attention="auto", chunk=BLOCK)


def abstract_learner(experiment: Experiment, spec: StreamSpec, model: ModelConfig) -> AbstractModel:
    """The learner of an experiment, with `model` in place of the experiment's own.

    Raises:
      ValueError: settings of model and objectives that don't fit each other.
    """

    def build() -> Learner:
        return make_learner(experiment, spec, nnx.Rngs(experiment.training.seed), model)

    learner = nnx.eval_shape(build)
    graphdef, params, rest = nnx.split(learner, nnx.Param, ...)
    axes = unflatten_dict({path: leaf.get_metadata().get("axes") for path, leaf in nnx.to_flat_state(params)})
    portion = trainable_params(learner, experiment.training)
    return AbstractModel(spec, graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest), axes, portion)


def gradient_of(learner: AbstractModel) -> Callable[[Any, Any, Any, TokenStream], Any]:
    """The gradient of the loss, as a function of the trained parameters, of all, of other variables, and of a batch.

    Beside it stand the loss and the other variables as they are behind it, such as a teacher that has moved: a step
    keeps the old ones until it knows whether the loss is finite.
    """

    def loss(trained: Any, params: Any, rest: Any, stream: TokenStream) -> Any:
        whole = learner.merged(learner.portion.merge(params, trained), rest)
        total, _ = whole.losses(stream)
        return total, nnx.to_pure_dict(nnx.state(whole, nnx.Not(nnx.Param)))

    return jax.value_and_grad(loss, has_aux=True)
