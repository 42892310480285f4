"""A trained model with everything that gives its weights their meaning."""

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
"""A checkpoint: that of a step, the one marked as best, or the newest complete one (None)."""


def restore(
    experiment: Experiment, workdir: str | Path, mesh: jax.sharding.Mesh, step: Step = None
) -> tuple[Learner, dict[str, bytes], int]:
    """Return the learner of a checkpoint, the files stored in it, and its step.

    The learner has the average of the parameters where the run kept one.

    Args:
      experiment: settings of the training.
      workdir: folder of a run or an export.
      mesh: mesh on which to lay out the parameters.
      step: checkpoint; None is the newest complete one.

    Raises:
      CheckpointError: no checkpoint, a damaged one, or one with other settings.
    """
    with Checkpoints(Path(workdir) / "checkpoints", loud=jax.process_index() == 0) as checkpoints:
        if checkpoints.latest is None:
            raise CheckpointError(f"{workdir} has no checkpoint yet; train it with: mmvideo train {workdir}")
        return checkpoints.newest(lambda found: (*_read(checkpoints, found, experiment, mesh), found), step)


def _read(
    checkpoints: Checkpoints, step: int, experiment: Experiment, mesh: jax.sharding.Mesh
) -> tuple[Learner, dict[str, bytes]]:
    """Return the learner of a step, and its files."""
    assets = checkpoints.assets(step)
    spec = stream_spec(json.loads(assets["spec.json"]))

    def build() -> Learner:
        return make_learner(experiment, spec, nnx.Rngs(experiment.training.seed))

    # Structure and shapes without arrays: each parameter is then read straight to its devices, never whole on one.
    graphdef, params, variables = nnx.split(nnx.eval_shape(build), nnx.Param, ...)
    params = checkpoints.restore_params(_placed(params, mesh), step=step, ema=checkpoints.has(step, "ema"))
    if checkpoints.is_resumable(step):
        variables = checkpoints.restore_variables(_placed(variables, mesh), step=step)
        return nnx.merge(graphdef, params, variables), assets
    # An export has no other variables: they are initialized, and objectives copy their teachers from the parameters.
    learner = nnx.merge(graphdef, params, _new_variables(build, variables, mesh))
    learner.begin()
    return learner, assets


def _new_variables(build: Callable[[], Learner], abstract: nnx.State, mesh: jax.sharding.Mesh) -> dict:
    """Return the variables of a new learner, laid out on the mesh."""
    with jax.set_mesh(mesh):
        # Under jit with output shardings, so that no device ever holds more than its part.
        make = jax.jit(
            lambda: nnx.to_pure_dict(nnx.split(build(), nnx.Param, ...)[2]),
            out_shardings=nnx.to_pure_dict(shardings(abstract, mesh)),
        )
        return make()


def _placed(abstract: nnx.State, mesh: jax.sharding.Mesh) -> dict:
    """Return nested dicts of shapes and dtypes with the sharding of each array."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        nnx.to_pure_dict(abstract),
        nnx.to_pure_dict(shardings(abstract, mesh)),
    )


def stream_spec(fields: Mapping) -> StreamSpec:
    """Return the `StreamSpec` in a checkpoint's `spec.json`."""

    def patches(values: Mapping | None) -> PatchSpec | None:
        if values is None:
            return None
        return PatchSpec(tuple(values["patch"]), tuple(values["grid"]), values["seconds"])

    text = fields.get("text")
    return StreamSpec(patches(fields.get("video")), patches(fields.get("audio")), TextSpec(**text) if text else None)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model that embeds files and texts into its embedding space.

    Attributes:
      experiment: settings of the training.
      learner: backbone and heads.
      assets: tokenizer, class names and spectrogram statistics, as files.
      step: number of training steps.
    """

    experiment: Experiment
    learner: Learner
    assets: dict[str, bytes]
    step: int

    def embed(self, files: Sequence[str | Path] = (), texts: Sequence[str] = ()) -> dict[str, Float[np.ndarray, "n d"]]:
        """Return unit embeddings of the video and audio of files, and of texts.

        Args:
          files: media files; a file without a modality has NaN there.
          texts: captions or queries.

        Returns:
          Embeddings by modality or group (`video`, `audio`, `video+audio` of the files, `text` of the texts), one row
          per input in the given order; the inner product is the cosine similarity. A name such as `audio@video_audio`
          belongs to another space (`objectives/components/modality_groups.py`) and compares only with embeddings of
          that space.

        Raises:
          ValueError: an unreadable file, or no input.
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
            # Rows are files, then texts: 3 files and 2 texts give 5 rows. `video` returns rows 0 to 2, `text` rows 3
            # and 4.
            name: np.where(found.present[name][:, None], vectors, np.nan)[_rows(name, len(files), len(texts))]
            for name, vectors in found.vectors.items()
            if found.present[name].any()
        }


def _rows(name: str, files: int, texts: int) -> slice:
    """Return the rows of a group: texts come after the files."""
    return slice(files, files + texts) if group_and_space(name)[0] == "text" else slice(0, files)


def load(workdir: str | Path, step: Step = None) -> TrainedModel:
    """Open a trained model, with low-rank updates merged into its matrices.

    Args:
      workdir: folder of a run or an export.
      step: checkpoint, or `best` for the one that `training.best` marks; None is the newest complete one.

    Raises:
      ConfigError: the folder holds no run.
      CheckpointError: it holds no checkpoint, or a damaged one.
    """
    experiment = load_run(workdir, step)
    mesh = make_mesh(experiment.mesh)
    learner, assets, step = restore(experiment, workdir, mesh, step)
    merge_lora(learner.trunk)
    return TrainedModel(experiment, learner, assets, step)
