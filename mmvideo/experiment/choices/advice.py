"""Advice on a corpus: its contents, a recipe's choices with reasons, and cautions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmvideo.datasets.corpus import open_corpus, splits
from mmvideo.experiment.choices.fitting import Chosen, fit, open_sources
from mmvideo.experiment.config import Experiment, load_experiment
from mmvideo.experiment.evaluators import held_out
from mmvideo.input.advice.cautions import class_counts, label_cautions, media_cautions
from mmvideo.input.config import Source
from mmvideo.input.mixture import CorpusMixture
from mmvideo.objectives import Classification

RECIPES = {"finetune": "configs/finetune/folder.py", "pretrain": "configs/pretrain/folder.py"}
"""Recipes for a folder of clips, with labels and without."""


@dataclasses.dataclass(frozen=True)
class Advice:
    """Advice on a corpus.

    Attributes:
      corpus: name of the corpus.
      holds: contents: splits, clips with each modality, quantiles of seconds, sizes and rates, and labels.
      recipe: recipe of the choices.
      chosen: choices with reasons.
      cautions: warnings about the clips.
      command: command that trains with the choices.
    """

    corpus: str
    holds: dict[str, Any]
    recipe: str
    chosen: list[Chosen]
    cautions: list[str]
    command: str


def advise(corpus: str, recipe: str | None = None, split: str = "train") -> Advice:
    """Inspect a corpus and make the choices that a recipe leaves to it; nothing is trained.

    Args:
      corpus: its folder, or `samples:NAME`.
      recipe: path of a recipe, `finetune` or `pretrain`; None is `finetune` for a corpus with class labels, else
        `pretrain`.
      split: split of the training clips.

    Raises:
      CorpusError: the folder is no corpus, or has no such split.
      ConfigError: the recipe needs something that the corpus lacks.
    """
    mixture = CorpusMixture([open_corpus(corpus, split)])
    kinds = mixture.annotations.single + mixture.annotations.several
    name = recipe or ("finetune" if any(len(mixture.classes[kind]) > 1 for kind in kinds) else "pretrain")
    path = RECIPES.get(name, name)
    draft = load_experiment(_found(path))
    draft = dataclasses.replace(draft, input=dataclasses.replace(draft.input, sources=(Source(corpus, split),)))
    fitted, chosen = fit(draft)
    workdir = f"runs/{Path(corpus.replace(':', '_')).name}"
    source = f"--input.sources.0.path {corpus}" + (f" --input.sources.0.split {split}" if split != "train" else "")
    command = f"mmvideo train {path} {source} --workdir {workdir}"
    return Advice(corpus, holdings(corpus, mixture), path, chosen, list(cautions(fitted)), command)


def holdings(corpus: str, mixture: CorpusMixture) -> dict[str, Any]:
    """Return the contents of a corpus as plain values."""
    video = mixture.has_video
    facts: dict[str, Any] = {
        "splits": splits(corpus),
        "clips": len(mixture),
        "with_video": int(video.sum()),
        "with_audio": int(mixture.has_audio.sum()),
        "with_captions": sum(bool(texts) for texts in mixture.all_captions()),
        "seconds": _quantiles(mixture.seconds),
    }
    if video.any():
        facts["shorter_side"] = _quantiles(np.minimum(mixture.width, mixture.height)[video])
        facts["frames_a_second"] = _quantiles(mixture.fps[video])
    facts["labels"] = {kind: _classes(mixture, kind) for kind in mixture.annotations.kinds}
    return facts


def cautions(experiment: Experiment) -> Iterator[str]:
    """Yield warnings about the clips of an experiment whose choices are made."""
    corpus = open_sources(experiment)
    yield from media_cautions(corpus)
    sources = held_out(experiment)
    measured = CorpusMixture([open_corpus(source.path, source.split) for source in sources]) if sources else None
    for objective in experiment.objectives.values():
        if isinstance(objective, Classification) and objective.label in corpus.classes:
            yield from label_cautions(corpus, objective.label, measured)


def _classes(mixture: CorpusMixture, kind: str) -> dict[str, Any]:
    """Return the sort of a label field, and the number of clips of each class."""
    sort = mixture.annotations.sort(kind)
    if sort == "number":
        return {"sort": sort}
    counts, unknown = class_counts(mixture, kind)
    return {"sort": sort, "clips": dict(zip(mixture.classes[kind], counts.tolist(), strict=True)), "unknown": unknown}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    """Return the smallest, the median and the largest value."""
    found = {"least": values.min(), "median": np.median(values), "most": values.max()}
    return {name: round(float(value), 3) for name, value in found.items()}


def _found(recipe: str) -> Path:
    """Return the path of a recipe, relative to the working directory or else to the checkout of the package."""
    here, beside = Path(recipe), Path(__file__).parents[3] / recipe
    return beside if not here.exists() and beside.exists() else here
