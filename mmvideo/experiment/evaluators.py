"""The evaluators that an experiment's settings ask for, and the lines they end up as on the screen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mmvideo.datasets.corpus import splits
from mmvideo.datasets.shapes import known_oracle
from mmvideo.evaluation.evaluators import Probes, Retrieval
from mmvideo.evaluation.losses import Losses
from mmvideo.evaluation.runner import Evaluator, Partial, partial_name
from mmvideo.experiment.config import Experiment
from mmvideo.input.config import Source
from mmvideo.input.pipeline import Batches
from mmvideo.objectives import Contrastive
from mmvideo.stream import MODALITIES

HELD_OUT = ("test", "validation", "val")
"""Splits that are taken for held-out clips where none are named, the first that there is."""


def held_out(experiment: Experiment) -> tuple[Source, ...]:
    """The sources that evaluation uses: those named, or the held-out split of each training source that has one."""
    if experiment.evaluation.sources:
        return experiment.evaluation.sources
    found = []
    for source in experiment.input.sources:
        there = splits(source.path)
        found += [Source(source.path, name) for name in HELD_OUT if name in there][:1]
    return tuple(found)


def shown_batches(experiment: Experiment, assets: Mapping[str, bytes], masked: bool = False) -> Batches:
    """One pass over the clips that a report shows: held-out ones, or those of training where there are no others."""
    return _one_pass(experiment, held_out(experiment) or experiment.input.sources, assets, masked=masked)


def evaluators(experiment: Experiment, assets: Mapping[str, bytes]) -> list[Evaluator]:
    """What `experiment.evaluation` asks for.

    Args:
      experiment: the settings.
      assets: the files that travel with the checkpoints: tokenizer, classes, spectrogram.

    Raises:
      ValueError: a held-out corpus or split that isn't there, or a kind of label that it lacks.
    """
    wanted, found, shown = experiment.evaluation, [], shown_modalities(experiment)
    if not (wanted.retrieval or wanted.probes or wanted.losses):
        return found
    sources = held_out(experiment)
    if not sources:
        print("nothing is evaluated: no source has a test or validation split; name some in evaluation.sources")
        return found
    test = _one_pass(experiment, sources, assets, modalities=shown)
    dataset = "+".join(dict.fromkeys(Path(source.path).name for source in sources))
    split = "+".join(dict.fromkeys(source.split for source in sources))
    oracle = _oracle(test)
    if wanted.retrieval and compares(experiment):
        found.append(Retrieval(test, dataset, split, oracle=oracle))
    if wanted.losses:
        options = {"modalities": shown, "misaligned": wanted.misaligned}
        masked = _one_pass(experiment, sources, assets, experiment.input.embeddings, masked=True, **options)
        found.append(Losses(masked, dataset, split))
    lacking = sorted(set(wanted.probes) - set(test.classes))
    if lacking:
        have = ", ".join(test.classes) or "none"
        raise ValueError(f"evaluation.probes names the label '{lacking[0]}', which {dataset} lacks; it has: {have}")
    if wanted.probes:
        train = _one_pass(experiment, experiment.input.sources, assets, modalities=shown)
        known = {"classes": test.classes, "oracle": oracle}
        found.append(Probes(train, test, wanted.probes, dataset, split, clips=wanted.probe_clips, **known))
    return found if shown is None else [Partial(evaluator, shown) for evaluator in found]


def shown_modalities(experiment: Experiment) -> tuple[str, ...] | None:
    """The modalities that evaluation shows, in their order; None for all that there are."""
    asked = experiment.evaluation.modalities
    return None if asked is None else tuple(sorted(asked, key=lambda name: [*MODALITIES, name].index(name)))


def compares(experiment: Experiment) -> bool:
    """Whether an objective puts modalities into one space, so that there is something to retrieve."""
    return any(isinstance(objective, Contrastive) for objective in experiment.objectives.values())


def headline(workdir: Path, modalities: tuple[str, ...] | None = None) -> list[str]:
    """The retrieval table and the masked losses as lines of text; empty where neither was measured.

    Args:
      workdir: the run.
      modalities: those that were shown; None for all that there are.
    """
    retrieval, losses = (_metrics(workdir, partial_name(name, modalities)) for name in ("retrieval", "losses"))
    return _retrieval_lines(retrieval) + _masked_lines(losses)


def _metrics(workdir: Path, name: str) -> dict[str, float]:
    """The metrics of an evaluation; empty where it was not made."""
    path = workdir / "evals" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else {}


def _masked_lines(metrics: Mapping[str, float]) -> list[str]:
    """What predicting hidden patches cost, beside answering each with its own mean."""
    names = [name.removesuffix("/mean_loss") for name in metrics if name.endswith("/mean_loss")]
    head = [f"{'hidden patches':<32}{'loss':>8}{'of their mean':>16}"] if names else []
    return head + [f"{name:<32}{metrics[f'{name}/loss']:8.3f}{metrics[f'{name}/mean_loss']:16.3f}" for name in names]


def _retrieval_lines(metrics: Mapping[str, float]) -> list[str]:
    if not metrics:
        return []
    lines = [f"{'retrieval':<24}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'MdR':>7}{'chance':>9}{'oracle':>9}"]
    for direction in sorted({name.split("/")[0] for name in metrics if name.endswith("/r@1")}):
        row = {name.split("/", 1)[1]: value for name, value in metrics.items() if name.startswith(f"{direction}/")}
        oracle = f"{row['oracle']:9.3f}" if row.get("oracle") is not None else f"{'–':>9}"
        recalls = "".join(f"{row[f'r@{k}']:8.3f}" for k in (1, 5, 10))
        label = direction.replace("_to_", " → ")
        lines.append(f"{label:<24}{recalls}{row['median_rank']:7.0f}{row['chance']:9.4f}{oracle}")
    return lines


def _oracle(batches: Batches) -> dict[str, float] | None:
    """What the best possible model would score, where the clips were generated and it is known."""
    corpora = batches.corpus.corpora
    return known_oracle([corpus.attributes(clip) for corpus in corpora for clip in range(len(corpus))])


def _one_pass(
    experiment: Experiment,
    sources: tuple[Source, ...],
    assets: Mapping[str, bytes],
    embeddings: str | None = None,
    masked: bool = False,
    **options: Any,
) -> Batches:
    """Batches of one pass over some sources; only losses look at what another model made of the clips."""
    return Batches(
        dataclasses.replace(experiment.input, sources=sources, embeddings=embeddings),
        masked=masked,
        train=False,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        assets=assets,
        **options,
    )
