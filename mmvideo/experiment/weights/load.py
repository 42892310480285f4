"""A trained model with everything that its weights need to keep their meaning."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from mmvideo.datasets.in_memory import InMemoryClips
from mmvideo.evaluation.embeddings import embed_corpus
from mmvideo.experiment.build_learner import make_learner
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.weights.verified_config import load_run
from mmvideo.input.config import Source
from mmvideo.input.pipeline import Batches
from mmvideo.model.transformer.lora import merge_lora
from mmvideo.objectives.components.modality_groups import group_and_space
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import shardings
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints

Step = int | Literal["best"] | None
"""Which checkpoint: that of a step, the one that is marked as the best, or the newest that is whole."""


def restore(
    experiment: Experiment, workdir: str | Path, mesh: jax.sharding.Mesh, step: Step = None
) -> tuple[Learner, dict[str, bytes], int]:
    """The learner of a checkpoint, with the files that travel in it and its step.

    The average of the parameters is taken where one was kept.

    Args:
      experiment: the settings that it was trained with.
      workdir: the run, or what was exported of one.
      mesh: devices that the parameters are laid out on.
      step: which checkpoint; None takes the newest that is whole.

    Raises:
      CheckpointError: there is none, it is damaged, or it was trained with other settings.
    """
    with Checkpoints(Path(workdir) / "checkpoints", loud=jax.process_index() == 0) as checkpoints:
        if checkpoints.latest is None:
            raise CheckpointError(f"{workdir} has no checkpoint yet; train it with: mmvideo train {workdir}")
        return checkpoints.newest(lambda found: (*_read(checkpoints, found, experiment, mesh), found), step)


def _read(
    checkpoints: Checkpoints, step: int, experiment: Experiment, mesh: jax.sharding.Mesh
) -> tuple[Learner, dict[str, bytes]]:
    """The learner of a step, and its files."""
    assets = checkpoints.assets(step)
    spec = stream_spec(json.loads(assets["spec.json"]))

    def build() -> Learner:
        return make_learner(experiment, spec, nnx.Rngs(experiment.training.seed))

    graphdef, params, variables = nnx.split(nnx.eval_shape(build), nnx.Param, ...)
    params = checkpoints.restore_params(_placed(params, mesh), step=step, ema=checkpoints.has(step, "ema"))
    if checkpoints.is_resumable(step):
        variables = checkpoints.restore_variables(_placed(variables, mesh), step=step)
        return nnx.merge(graphdef, params, variables), assets
    learner = nnx.merge(graphdef, params, _new_variables(build, variables, mesh))
    learner.begin()
    return learner, assets


def _new_variables(build: Callable[[], Learner], abstract: nnx.State, mesh: jax.sharding.Mesh) -> dict:
    """The variables of a new learner, where they lie: an export has parameters alone."""
    with jax.set_mesh(mesh):
        make = jax.jit(
            lambda: nnx.to_pure_dict(nnx.split(build(), nnx.Param, ...)[2]),
            out_shardings=nnx.to_pure_dict(shardings(abstract, mesh)),
        )
        return make()


def _placed(abstract: nnx.State, mesh: jax.sharding.Mesh) -> dict:
    """Nested dicts of shapes and dtypes, with where each array shall lie."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        nnx.to_pure_dict(abstract),
        nnx.to_pure_dict(shardings(abstract, mesh)),
    )


def stream_spec(fields: Mapping) -> StreamSpec:
    """The `StreamSpec` that a checkpoint's `spec.json` tells."""

    def patches(values: Mapping | None) -> PatchSpec | None:
        if values is None:
            return None
        return PatchSpec(tuple(values["patch"]), tuple(values["grid"]), values["seconds"])

    text = fields.get("text")
    return StreamSpec(patches(fields.get("video")), patches(fields.get("audio")), TextSpec(**text) if text else None)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model that embeds files and words into the space it was trained for.

    Attributes:
      experiment: the settings it was trained with.
      learner: trunk and heads.
      assets: tokenizer, class names and spectrogram statistics, as files.
      step: how many steps it was trained.
    """

    experiment: Experiment
    learner: Learner
    assets: dict[str, bytes]
    step: int

    def embed(self, files: Sequence[str | Path] = (), texts: Sequence[str] = ()) -> dict[str, Float[np.ndarray, "n d"]]:
        """Unit embeddings: of the pictures and sound of files, and of texts.

        Args:
          files: media files, of which those without a modality give NaN there.
          texts: captions or queries.

        Returns:
          By modality or group (`video`, `audio`, `video+audio` of the files, `text` of the texts),
          one row each, in the order given; cosine similarity is the inner product. A name such as
          `audio@video_audio` is that of another space (`objectives/components/modality_groups.py`), to be compared
          with no other.

        Raises:
          ValueError: a file that cannot be read, or nothing to embed.
        """
        if not (len(files) or len(texts)):
            raise ValueError("nothing to embed: give files, texts, or both")
        loose = InMemoryClips(files, texts)
        settings = dataclasses.replace(self.experiment.input, sources=(Source("files and texts"),), embeddings=None)
        batches = Batches(settings, masked=False, train=False, assets=self.assets, corpora=[loose])
        found = embed_corpus(self.learner, batches)
        if batches.skipped:
            clip, reason = batches.skipped[0]
            raise ValueError(f"{clip}: {reason}")
        return {
            name: np.where(found.present[name][:, None], vectors, np.nan)[_rows(name, len(files), len(texts))]
            for name, vectors in found.vectors.items()
            if found.present[name].any()
        }


def _rows(name: str, files: int, texts: int) -> slice:
    """Files come first, texts behind them."""
    return slice(files, files + texts) if group_and_space(name)[0] == "text" else slice(0, files)


def load(workdir: str | Path, step: Step = None) -> TrainedModel:
    """Opens a trained model, low-rank updates merged into its matrices.

    Args:
      workdir: a run's folder, or what `mmvideo export` wrote.
      step: which checkpoint, or `best` for the one that `training.best` marks; None takes the newest that is whole.

    Raises:
      ConfigError: the folder holds no run.
      CheckpointError: it holds no checkpoint, or a damaged one.
    """
    experiment = load_run(workdir, step)
    mesh = make_mesh(experiment.mesh)
    learner, assets, step = restore(experiment, workdir, mesh, step)
    merge_lora(learner.trunk)
    return TrainedModel(experiment, learner, assets, step)
