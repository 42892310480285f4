"""The learner and the batches of an experiment as shapes without values, the basis of a plan."""

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
"""Keys that a fused attention kernel holds at once."""


@dataclasses.dataclass(frozen=True)
class AbstractModel:
    """A learner of shapes without values.

    Attributes:
      spec: modalities of its streams.
      graphdef: its structure.
      params, rest: parameters and other variables, nested dicts of shapes.
      axes: logical axis names of each parameter, nested like the parameters.
      portion: selection of the trained parameters.
    """

    spec: StreamSpec
    graphdef: Any
    params: Any
    rest: Any
    axes: Any
    portion: TrainableParams

    def merged(self, params: Any, rest: Any) -> Learner:
        """Return the learner with these arrays."""
        return nnx.merge(self.graphdef, params, rest)

    @property
    def trained(self) -> Any:
        """Shapes of the trained parameters."""
        return jax.eval_shape(self.portion.partition, self.params)


def sketched(experiment: Experiment) -> BatchOutline:
    """Return the batch outline of an experiment, with all inputs of its objectives.

    Raises:
      ValueError: as `batch_outline`.
    """
    moments = any(isinstance(objective, Moments) for objective in experiment.objectives.values())
    return batch_outline(experiment.input, labels(experiment), numbers(experiment), moments)


def labels(experiment: Experiment) -> tuple[str, ...]:
    """Return the class label fields that the objectives need."""
    found = _labelled(experiment, lambda objective: not isinstance(objective, Regression))
    return tuple(dict.fromkeys(found))


def numbers(experiment: Experiment) -> tuple[str, ...]:
    """Return the numeric target fields that the objectives need."""
    return tuple(dict.fromkeys(_labelled(experiment, lambda objective: isinstance(objective, Regression))))


def _labelled(experiment: Experiment, fits: Callable[[Any], bool]) -> list[str]:
    """Return the label fields of the matching objectives."""
    named = (objective for objective in experiment.objectives.values() if fits(objective))
    return [objective.label for objective in named if getattr(objective, "label", None) is not None]


def for_flops(model: ModelConfig) -> ModelConfig:
    """Return the model for counting FLOPs: dense attention, nothing recomputed."""
    return dense_reference(model) if isinstance(model, Model) else model


def for_memory(model: ModelConfig) -> ModelConfig:
    """Return the model for counting bytes: attention in small blocks of keys, like fused kernels.

    The chunked backend's own blocks are made for CPUs and larger: their scores would be counted, although a kernel
    never writes them to memory.
    """
    if not isinstance(model, Model) or model.attention in ("xla", "chunked"):
        return model
    return dataclasses.replace(model, attention="auto", chunk=BLOCK)


def abstract_learner(experiment: Experiment, spec: StreamSpec, model: ModelConfig) -> AbstractModel:
    """Return the abstract learner of an experiment, with `model` instead of the experiment's own.

    Raises:
      ValueError: settings of model and objectives that contradict each other.
    """

    def build() -> Learner:
        return make_learner(experiment, spec, nnx.Rngs(experiment.training.seed), model)

    # Shapes only: a model of 100 GB is built here without allocating it.
    learner = nnx.eval_shape(build)
    graphdef, params, rest = nnx.split(learner, nnx.Param, ...)
    # Such as {"trunk": {"blocks": {"wi": ("layers", "embed", "mlp")}}}: a tuple of names where `params` has a shape.
    axes = unflatten_dict({path: leaf.get_metadata().get("axes") for path, leaf in nnx.to_flat_state(params)})
    portion = trainable_params(learner, experiment.training)
    return AbstractModel(spec, graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest), axes, portion)


def gradient_of(learner: AbstractModel) -> Callable[[Any, Any, Any, TokenStream], Any]:
    """Return the gradient of the loss as a function of trained parameters, all parameters, other variables and a batch.

    Its auxiliary output has the loss and the updated other variables, such as a moved teacher: a step keeps the old
    ones until it knows that the loss is finite.
    """

    def loss(trained: Any, params: Any, rest: Any, stream: TokenStream) -> Any:
        whole = learner.merged(learner.portion.merge(params, trained), rest)
        total, _ = whole.losses(stream)
        return total, nnx.to_pure_dict(nnx.state(whole, nnx.Not(nnx.Param)))

    return jax.value_and_grad(loss, has_aux=True)
