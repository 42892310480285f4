"""The learner of an experiment, made ready for what is trained of it."""

from __future__ import annotations

from flax import nnx

from mmvideo.experiment.config import Experiment
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.transformer.lora import add_lora
from mmvideo.objectives.learner import Learner
from mmvideo.stream import StreamSpec
from mmvideo.training.config import Tuning


def make_learner(experiment: Experiment, spec: StreamSpec, rngs: nnx.Rngs, model: ModelConfig | None = None) -> Learner:
    """A new learner with all parameters that the experiment's checkpoints have.

    Args:
      experiment: gives model, objectives and what is trained.
      spec: the modalities of the run.
      rngs: needs the stream `params`.
      model: takes the place of the experiment's own.

    Raises:
      ValueError: settings that don't fit each other.
    """
    learner = Learner(experiment.model if model is None else model, spec, experiment.objectives, rngs=rngs)
    configure_tuning(learner, experiment.training.tune, rngs)
    return learner


def configure_tuning(learner: Learner, tune: Tuning, rngs: nnx.Rngs) -> None:
    """Adds low-rank updates to the trunk where they are trained; what is frozen skips no branches and drops nothing.

    Raises:
      ValueError: updates of matrices that the trunk lacks.
    """
    if tune.mode == "lora":
        add_lora(learner.trunk, tune.lora.rank, tune.lora.alpha, tune.lora.targets, rngs=rngs)
        learner.begin()
    if tune.mode == "heads":
        learner.trunk.eval()
    if tune.freeze_layers:
        learner.trunk.frozen_layers = tune.freeze_layers
        if getattr(learner.trunk, "space", None) is not None:
            learner.trunk.space.eval()
