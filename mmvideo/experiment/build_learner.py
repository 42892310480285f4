"""The learner of an experiment, prepared for the parameters that it trains."""

from __future__ import annotations

from flax import nnx

from mmvideo.experiment.config import Experiment
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.transformer.lora import add_lora
from mmvideo.objectives.learner import Learner
from mmvideo.stream import StreamSpec
from mmvideo.training.config import Tuning


def make_learner(experiment: Experiment, spec: StreamSpec, rngs: nnx.Rngs, model: ModelConfig | None = None) -> Learner:
    """Return a new learner with all parameters of the experiment's checkpoints.

    Args:
      experiment: model, objectives and tuning settings.
      spec: modalities of the run.
      rngs: random streams; `params` is required.
      model: replacement for the experiment's model.

    Raises:
      ValueError: settings that contradict each other.
    """
    learner = Learner(experiment.model if model is None else model, spec, experiment.objectives, rngs=rngs)
    configure_tuning(learner, experiment.training.tune, rngs)
    return learner


def configure_tuning(learner: Learner, tune: Tuning, rngs: nnx.Rngs) -> None:
    """Add low-rank updates to the backbone if they are trained, and put frozen layers into evaluation mode.

    Raises:
      ValueError: updates of matrices that the backbone lacks.
    """
    if tune.mode == "lora":
        add_lora(learner.trunk, tune.lora.rank, tune.lora.alpha, tune.lora.targets, rngs=rngs)
        # Objectives with a teacher copy the backbone, so they copy it again with the new matrices.
        learner.begin()
    if tune.mode == "heads":
        learner.trunk.eval()
    if tune.freeze_layers:
        # Frozen layers use neither dropout nor drop path: noise without training would only blur the features.
        learner.trunk.frozen_layers = tune.freeze_layers
        if getattr(learner.trunk, "space", None) is not None:
            learner.trunk.space.eval()
