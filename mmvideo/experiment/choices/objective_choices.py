"""The choices of objectives that a corpus decides: label fields, their classes, and pairs of modalities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmvideo.experiment.config import Experiment
from mmvideo.experiment.find_config import ConfigError
from mmvideo.input.mixture import CorpusMixture
from mmvideo.objectives import Classification, Contrastive, MaskedText
from mmvideo.objectives.components.modality_groups import parse_pair
from mmvideo.stream import MODALITIES

Found = dict[str, tuple[Any, str]]
"""Values and reasons by dotted field name."""

LABELS_WANTED = (
    "put the clips of each class into a folder of its own (FOLDER/train/CLASS/clip.mp4, FOLDER/test/CLASS/…), or write "
    '"label": "CLASS" for each in manifest.jsonl, and build the corpus again; without labels, pretrain: '
    "mmvideo train configs/pretrain/folder.py"
)
"""Advice for a classifier on a corpus without labels."""


def choose_classes(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
    """Choose the number of classes of classification objectives, in an experiment that requests no other choice.

    Returns:
      `objectives.NAME.classes` with the reason, for each objective without a number of classes.

    Raises:
      ConfigError: the corpus has no such label field, or fewer than two classes of it.
    """
    found = {}
    for name, objective in experiment.objectives.items():
        if isinstance(objective, Classification) and objective.classes is None:
            names = _class_names(name, objective, corpus)
            found[f"objectives.{name}.classes"] = len(names), _named(names)
    return found


def choose_objectives(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
    """Choose everything about objectives that the corpus decides.

    Raises:
      ConfigError: as `choose_comparisons` and `choose_labels`.
    """
    found = choose_comparisons(experiment, corpus, given)
    return found | choose_labels(experiment, corpus, given)


def choose_labels(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
    """Choose label field, number and form of classes, and modalities of each classification objective.

    Fields that the user set are kept.

    Raises:
      ConfigError: as `choose_classes`.
    """
    found: Found = {}
    for name, objective in experiment.objectives.items():
        if not isinstance(objective, Classification):
            continue
        if f"objectives.{name}.label" not in given:
            label, why = _label(name, objective.label, corpus)
            objective = dataclasses.replace(objective, label=label)
            found[f"objectives.{name}.label"] = label, why
        names = _class_names(name, objective, corpus)
        found[f"objectives.{name}.classes"] = len(names), _named(names)
        several = objective.label in corpus.annotations.several
        why = "a clip may have several classes" if several else "a clip has one class"
        found[f"objectives.{name}.form"] = "sigmoid" if several else "softmax", why
        there = tuple(one for one in objective.modalities if one in _modalities(experiment, corpus))
        if there and there != objective.modalities:
            found[f"objectives.{name}.modalities"] = there, "the others are not there"
    return {field: value for field, value in found.items() if field not in given}


def choose_comparisons(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
    """Choose pairs of modalities that clips have, and leave out objectives whose modalities no clip has.

    Returns:
      `objectives` with the reason if some of them cannot be learned, or `objectives.NAME.pairs`.

    Raises:
      ConfigError: none of the objectives can be learned from these clips.
    """
    there = _modalities(experiment, corpus)
    left, found = dict(experiment.objectives), {}
    for name, objective in experiment.objectives.items():
        if isinstance(objective, Contrastive):
            # A contrastive loss needs at least two clips with both sides, or there are no negatives.
            pairs = tuple(pair for pair in objective.pairs if _clips_with(pair, corpus, there) > 1)
            if pairs and pairs != objective.pairs and f"objectives.{name}.pairs" not in given:
                found[f"objectives.{name}.pairs"] = pairs, _counted(pairs, corpus, there)
            if not pairs:
                del left[name]
        if isinstance(objective, MaskedText) and "text" not in there:
            del left[name]
    if not left:
        raise ConfigError(f"none of the objectives can be learned: the clips have {' and '.join(there)} alone")
    if len(left) < len(experiment.objectives):
        gone = " and ".join(name for name in experiment.objectives if name not in left)
        return {"objectives": (left, f"{gone} left out: the clips have {' and '.join(there)} alone")} | found
    return found


def _label(name: str, label: str, corpus: CorpusMixture) -> tuple[str, str]:
    """Return the label field of an objective with the reason: its own, or the only one with classes."""
    kinds = corpus.annotations.single + corpus.annotations.several
    if label in corpus.annotations.kinds:
        return label, "the kind of label that the recipe names"
    if len(kinds) == 1:
        return kinds[0], "the only kind of label with classes"
    return label, ""


def _class_names(name: str, objective: Classification, corpus: CorpusMixture) -> list[str]:
    """Return the class names of an objective.

    Raises:
      ConfigError: a numeric, missing or single-class label field.
    """
    kinds = corpus.annotations.single + corpus.annotations.several
    label, flag = objective.label, f"--objectives.{name}.label"
    if label in corpus.annotations.number:
        raise ConfigError(f"label '{label}' is a number, which has no classes: learn it with the objective Regression")
    if not kinds:
        raise ConfigError(f"the corpus has no labels to tell classes by: {LABELS_WANTED}")
    if label not in kinds:
        raise ConfigError(
            f"the corpus has no label '{label}', but {', '.join(kinds)}: choose one with {flag} {kinds[0]}"
        )
    names = corpus.classes[label]
    if len(names) < 2:
        only = f"one class, '{names[0]}'" if names else "no class"
        raise ConfigError(f"label '{label}' has {only}; a classifier needs two or more: {LABELS_WANTED}")
    return names


def _named(names: list[str]) -> str:
    """Return the first four names, and the number of the others."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _has(corpus: CorpusMixture) -> dict[str, np.ndarray]:
    """Return a mask over clips for each modality."""
    captioned = np.array([bool(texts) for texts in corpus.all_captions()], bool)
    return {"video": corpus.has_video, "audio": corpus.has_audio, "text": captioned}


def _modalities(experiment: Experiment, corpus: CorpusMixture) -> tuple[str, ...]:
    """Return the modalities that the run uses and some clip has."""
    has = _has(corpus)
    return tuple(name for name in MODALITIES if getattr(experiment.input, name) is not None and has[name].any())


def _clips_with(pair: str, corpus: CorpusMixture, there: tuple[str, ...]) -> int:
    """Return the number of clips that have all modalities of both sides of a pair."""
    members = {name for side in parse_pair(pair) for name in side}
    has = _has(corpus)
    return int(np.all([has[name] for name in members], axis=0).sum()) if members <= set(there) else 0


def _counted(pairs: tuple[str, ...], corpus: CorpusMixture, there: tuple[str, ...]) -> str:
    """Return the number of clips of each pair in words."""
    return ", ".join(f"{_clips_with(pair, corpus, there):,} clips have {pair.replace('-', ' and ')}" for pair in pairs)
