"""The cells of a tier: every point of every study with every seed, each an experiment with a place of its own."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
import runpy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mmvideo.ablation.fields import override
from mmvideo.ablation.suite import Choice, Study, Suite, Tier, labels_of, points
from mmvideo.experiment.config import ConfigError, Experiment, to_json

SHARED = "shared:"
"""Stands before the name of a run that cells share, where a cell starts from it."""

STUDY = "study"
"""What `only` calls the studies themselves."""

TIERS = ("toy", "paper")
ACCELERATOR = "accelerator"
"""Names of tiers: a suite has two, and a third is made of the first."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a suite.

    Attributes:
      study: the name of its study.
      labels: of its choices, by axis.
      seed: of training.
      experiment: the settings.
      place: folder of its workdir, below that of the tier. Cells with equal settings have the same, and are run once.
    """

    study: str
    labels: Mapping[str, str]
    seed: int
    experiment: Experiment
    place: str

    @property
    def title(self) -> str:
        """Such as `fusion, kind=early, layer=2, seed 0`."""
        return ", ".join([self.study, *(f"{axis}={label}" for axis, label in self.labels.items()), f"seed {self.seed}"])


def load_suite(path: str | Path) -> Suite:
    """Reads a suite: a Python file that defines `suite`, or a folder with a `suite.py`.

    Raises:
      ConfigError: there is none, or it is wrong, with what to do.
    """
    path = Path(path)
    file = path / "suite.py" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"there is no suite {file}; give a folder with a suite.py, such as experiments/mbt")
    try:
        found = runpy.run_path(str(file)).get("suite")
    except (SyntaxError, TypeError, NameError, ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    if not isinstance(found, Suite):
        raise ConfigError(f"{file} must define `suite = Suite(...)`")
    return found


def tier_of(suite: Suite, name: str) -> Tier:
    """The tier of a name.

    Raises:
      ConfigError: there is none of that name.
    """
    if name == ACCELERATOR:
        from mmvideo.ablation.toy import accelerator

        return accelerator(suite.toy)
    if name not in TIERS:
        raise ConfigError(f"there is no tier '{name}': take one of {', '.join((*TIERS, ACCELERATOR))}")
    return getattr(suite, name)


def cells_of(tier: Tier, only: Sequence[tuple[str, str]] = (), keep: str | None = None) -> list[Cell]:
    """All cells, seed by seed, so that a suite that is stopped has whole tables of fewer seeds.

    Args:
      tier: the studies.
      only: axes with the labels that are wanted; several of one axis are alternatives. Studies without the axis stay
        out. `study` is as an axis, whose labels are the names of the studies.
      keep: folder in which batches are kept for all cells.

    Raises:
      ConfigError: an axis or a label that isn't there, or settings that can't be made, with the cell.
    """
    wanted, found = _wanted(tier, only), []
    names = wanted.pop(STUDY, {study.name for study in tier.studies})
    places: dict[str, str] = {}
    for seed in tier.seeds:
        for study in tier.studies:
            for point in points(study):
                labels = labels_of(study, point)
                experiment = _experiment(study, point, labels, seed)
                words = "_".join(_plain(word) for word in (study.name, *labels.values(), f"s{seed}"))
                # That of the first cell of all, wanted or not: it is the same whichever are asked for.
                place = places.setdefault(_digest(experiment), words)
                if study.name in names and all(labels.get(axis) in choices for axis, choices in wanted.items()):
                    experiment = override(experiment, {"name": words, "input.keep": keep})
                    found.append(Cell(study.name, labels, seed, experiment, place))
    return found


def _wanted(tier: Tier, only: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    """The labels that are wanted of each axis."""
    known: dict[str, set[str]] = {STUDY: {study.name for study in tier.studies}}
    for axis in (axis for study in tier.studies for axis in study.axes):
        known.setdefault(axis.name, set()).update(choice.label for choice in axis.choices)
    wanted: dict[str, set[str]] = {}
    for axis, label in only:
        if axis not in known:
            raise ConfigError(f"--only {axis}={label}: there is no axis '{axis}'{_near(axis, known)}")
        if label not in known[axis]:
            raise ConfigError(f"--only {axis}={label}: {axis} has no '{label}'{_near(label, known[axis])}")
        wanted.setdefault(axis, set()).add(label)
    return wanted


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; do you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(known))}"


def _experiment(study: Study, point: Sequence[Choice], labels: Mapping[str, str], seed: int) -> Experiment:
    """The settings of a cell."""
    experiment = study.base
    try:
        for choice in point:
            experiment = override(experiment, choice.fields)
            experiment = choice.change(experiment) if choice.change is not None else experiment
        return override(experiment, {"training.seed": seed})
    except (ValueError, TypeError, KeyError) as error:
        told = ", ".join(f"{axis}={label}" for axis, label in labels.items())
        raise ConfigError(f"study '{study.name}', cell {told}: {error}") from error


def _digest(experiment: Experiment) -> str:
    """The same for experiments that differ in name alone."""
    return hashlib.sha256(to_json(dataclasses.replace(experiment, name="")).encode()).hexdigest()


def _plain(label: str) -> str:
    """A label as a part of a folder's name."""
    return re.sub(r"[^\w.+-]+", "-", label).strip("-")
