"""The embeddings of a corpus by a trained model, written as targets for other models (`Input.embeddings`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from mmvideo.datasets.corpus import splits
from mmvideo.evaluation.embeddings import embed_corpus
from mmvideo.experiment.weights.load import Step, restore
from mmvideo.experiment.weights.verified_config import load_run
from mmvideo.input.annotations.teacher_embeddings import write_teacher_embeddings
from mmvideo.input.config import Source
from mmvideo.input.device_put import device_put_batch
from mmvideo.input.pipeline import Batches
from mmvideo.parallel.compilation_cache import enable_compilation_cache
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.processes import initialize


@dataclasses.dataclass(frozen=True)
class WrittenEmbeddings:
    """The content of an embeddings file.

    Attributes:
      clips: number of clips.
      known: number of clips with a vector, by modality or group.
      width: width of the vectors, by modality or group.
      skipped: ids and reasons of unreadable clips, of this process.
    """

    clips: int
    known: dict[str, int]
    width: dict[str, int]
    skipped: list[tuple[str, str]]


def write_embeddings(
    workdir: str | Path,
    corpora: Sequence[str],
    out: str | Path,
    named: Sequence[str] = (),
    features: bool = False,
    step: Step = None,
) -> WrittenEmbeddings:
    """Embed the clips of corpora with a checkpoint of a run, and write ids and vectors to one .npz file.

    Args:
      workdir: folder of the run.
      corpora: folders of corpora, or embedded corpora.
      out: output file.
      named: splits of each corpus; empty embeds all.
      features: mean features of the backbone before any head, instead of the embeddings of the contrastive heads.
      step: checkpoint; None is the newest complete one.

    Raises:
      ValueError: no run, no checkpoint, an unknown corpus or split, or a run without embeddings.
    """
    initialize()
    enable_compilation_cache()
    experiment = load_run(workdir, step)
    sources = tuple(Source(str(path), split) for path in corpora for split in named or splits(path))
    mesh = make_mesh(experiment.mesh)
    with jax.set_mesh(mesh):
        learner, assets, _ = restore(experiment, workdir, mesh, step)
        batches = Batches(
            dataclasses.replace(experiment.input, sources=sources, embeddings=None),
            masked=False,
            train=False,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            assets=assets,
        )
        found = embed_corpus(learner, batches, functools.partial(device_put_batch, mesh=mesh))
    vectors, present = (found.features, found.featured) if features else (found.vectors, found.present)
    # A clip without a modality has a row of NaN there, so that rows match ids; groups that no clip has are left out.
    groups = {group: np.where(present[group][:, None], vectors[group], np.nan) for group in vectors}
    groups = {group: values for group, values in groups.items() if present[group].any()}
    if not groups:
        raise ValueError(
            f"{workdir} embeds nothing: it has no contrastive objective; write features of its trunk with --features"
        )
    if jax.process_index() == 0:
        write_teacher_embeddings(out, found.ids, groups)
    known = {group: int(present[group].sum()) for group in groups}
    return WrittenEmbeddings(len(found.ids), known, {group: v.shape[1] for group, v in groups.items()}, batches.skipped)
