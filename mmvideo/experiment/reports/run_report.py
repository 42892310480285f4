"""The page of a run: its recorded results, and examples that need the trained model."""

from __future__ import annotations

import dataclasses
import functools
import platform
from pathlib import Path

import jax
import numpy as np

from mmvideo.evaluation.embeddings import embed_corpus
from mmvideo.evaluation.qualitative.gallery import gallery_queries
from mmvideo.evaluation.qualitative.visualize import attention_views, reconstructions
from mmvideo.evaluation.report.run_data import read_run
from mmvideo.evaluation.report.run_page import write_report
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.evaluators import has_contrastive, shown_batches
from mmvideo.experiment.planning.planned_vs_measured import planned_and_measured
from mmvideo.experiment.reports.examples import examples
from mmvideo.experiment.weights.load import Step, restore
from mmvideo.input.device_put import device_put_batch
from mmvideo.input.pipeline import Batches
from mmvideo.parallel.mesh import make_mesh
from mmvideo.records.lines import read_lines


def report(experiment: Experiment, workdir: str | Path, step: Step = None) -> Path:
    """Write `report.html` of a run. All processes take part; the first one writes.

    Args:
      experiment: settings of the run.
      workdir: folder of the run.
      step: checkpoint of the shown model; None is the newest complete one.

    Raises:
      ValueError: no run, no checkpoint, or held-out clips that no longer exist.
    """
    workdir = Path(workdir)
    mesh = make_mesh(experiment.mesh)
    place = functools.partial(device_put_batch, mesh=mesh)
    with jax.set_mesh(mesh):
        learner, assets, step = restore(experiment, workdir, mesh, step)
        plain = shown_batches(experiment, assets)
        shown = {
            "gallery": _gallery(experiment, learner, plain, place),
            "attention": attention_views(learner, plain.batch(0), plain.clip_id, _captions(plain), place),
            "reconstructions": _reconstructions(experiment, learner, assets, place),
            "examples": examples(workdir, plain) if jax.process_index() == 0 else [],
        }
    # Only here: everything above runs the model on the mesh, which needs every process.
    if jax.process_index() != 0:
        return workdir / "report.html"
    data = read_run(
        workdir,
        experiment.name,
        summary=_summary(experiment, workdir, learner, step, plain),
        skipped=_skipped(workdir),
        planned=[dataclasses.astuple(figure) for figure in planned_and_measured(experiment, workdir)],
        **shown,
    )
    return write_report(workdir / "report.html", data)


def _gallery(experiment: Experiment, learner, plain: Batches, place) -> list:
    """Return queries with their best clips; none without a contrastive objective."""
    if not has_contrastive(experiment):
        return []
    found = embed_corpus(learner, plain, place)
    if jax.process_index() != 0:
        return []
    captions = plain.corpus.all_captions()
    return gallery_queries(found, plain.corpus.record, experiment.evaluation.gallery, captions=captions)


def _reconstructions(experiment: Experiment, learner, assets, place) -> list:
    """Return masked inputs with their reconstructions; none without masking."""
    masking = experiment.input.masking
    if not (masking.video or masking.audio):
        return []
    masked = shown_batches(experiment, assets, masked=True)
    return reconstructions(learner, masked.batch(0), masked.clip_id, place)


def _captions(batches: Batches):
    """Return a function from a clip's index to its first caption, or to an empty string."""
    return lambda number: next(iter(batches.corpus.captions(number)), "")


def _summary(experiment: Experiment, workdir: Path, learner, step: int, plain: Batches) -> list[tuple[str, str]]:
    """Return the facts of a run as pairs of a name and a value."""
    from flax import nnx

    parameters = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(learner, nnx.Param)))
    device = jax.devices()[0]
    return [
        ("steps", f"{step:,}"),
        ("parameters", f"{parameters / 1e6:.2f} M"),
        ("objectives", ", ".join(experiment.objectives)),
        ("training data", ", ".join(f"{source.path} ({source.split})" for source in experiment.input.sources)),
        ("held-out clips", f"{len(plain.corpus):,}"),
        ("time", _time(workdir)),
        ("devices", f"{jax.device_count()} × {device.device_kind}, {platform.machine()}"),
    ]


def _time(workdir: Path) -> str:
    """Return the minutes of the run, by its last line of metrics."""
    lines = read_lines(workdir / "metrics.jsonl", {"seconds": (int, float)})
    return f"{lines[-1]['seconds'] / 60:.1f} minutes" if lines else "unknown"


def _skipped(workdir: Path) -> list[tuple[str, str]]:
    """Return ids and reasons of the clips that training could not use."""
    rows = read_lines(workdir / "skipped.jsonl", {"id": str, "reason": str})
    return [(row["id"], row["reason"]) for row in rows]
