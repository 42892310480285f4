"""The cells of a tier: every point of every study with every seed, each an experiment with its own run folder."""

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
"""Prefix of `training.init_from` where a cell starts from a run that cells share, as in `shared:pretrained`."""

STUDY = "study"
"""Axis name that `only` uses for the studies themselves."""

TIERS = ("toy", "paper")
ACCELERATOR = "accelerator"
"""Names of tiers: a suite defines two, and the third is derived from the first."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a suite.

    Attributes:
      study: name of its study.
      labels: labels of its choices, by axis.
      seed: training seed.
      experiment: the settings.
      place: name of its run folder in the tier's folder. Cells with equal settings share one, and are run once.
    """

    study: str
    labels: Mapping[str, str]
    seed: int
    experiment: Experiment
    place: str

    @property
    def title(self) -> str:
        """Readable name, such as `fusion, kind=early, layer=2, seed 0`."""
        return ", ".join([self.study, *(f"{axis}={label}" for axis, label in self.labels.items()), f"seed {self.seed}"])


def load_suite(path: str | Path) -> Suite:
    """Read a suite: a Python file that defines `suite`, or a folder with a `suite.py`.

    Raises:
      ConfigError: the file is missing or invalid; the message says what to do.
    """
    path = Path(path)
    file = path / "suite.py" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"there is no suite {file}; give a folder with a suite.py, such as experiments/mbt")
    try:
        # Only errors of a mistake in the file become one line; any other keeps its traceback.
        found = runpy.run_path(str(file)).get("suite")
    except (SyntaxError, TypeError, NameError, ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    if not isinstance(found, Suite):
        raise ConfigError(f"{file} must define `suite = Suite(...)`")
    return found


def tier_of(suite: Suite, name: str) -> Tier:
    """Return the tier with this name.

    Raises:
      ConfigError: the suite has no such tier.
    """
    if name == ACCELERATOR:
        from mmvideo.ablation.toy import accelerator

        return accelerator(suite.toy)
    if name not in TIERS:
        raise ConfigError(f"there is no tier '{name}': take one of {', '.join((*TIERS, ACCELERATOR))}")
    return getattr(suite, name)


def cells_of(tier: Tier, only: Sequence[tuple[str, str]] = (), keep: str | None = None) -> list[Cell]:
    """Return all cells, seed by seed, so that a suite that is stopped early has complete tables of fewer seeds.

    Args:
      tier: the studies.
      only: pairs of an axis and a wanted label; several labels of one axis are alternatives. Studies without the axis
        are left out. The axis `study` selects studies by name.
      keep: folder for the batch cache that all cells share.

    Raises:
      ConfigError: an unknown axis or label, or invalid settings; the message names the cell.
    """
    wanted, found = _wanted(tier, only), []
    names = wanted.pop(STUDY, {study.name for study in tier.studies})
    # Equal settings share a run. Where studies `fusion` and `depth` contain the same experiment, the first one names
    # it: places = {digest: "fusion_early_s0"}, and the cell of `depth` gets place "fusion_early_s0" too.
    places: dict[str, str] = {}
    # Three seeds of two points: (a, 0), (b, 0), (a, 1), (b, 1), (a, 2), (b, 2).
    for seed in tier.seeds:
        for study in tier.studies:
            for point in points(study):
                labels = labels_of(study, point)
                experiment = _experiment(study, point, labels, seed)
                words = "_".join(_plain(word) for word in (study.name, *labels.values(), f"s{seed}"))
                # Named by the first of the equal cells, wanted or not, so that a run's folder does not depend on
                # `only`.
                place = places.setdefault(_digest(experiment), words)
                if study.name in names and all(labels.get(axis) in choices for axis, choices in wanted.items()):
                    # After the digest: neither the name nor the batch cache changes a result, so neither may split
                    # equal runs.
                    experiment = override(experiment, {"name": words, "input.keep": keep})
                    found.append(Cell(study.name, labels, seed, experiment, place))
    return found


def _wanted(tier: Tier, only: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    """Return the wanted labels of each axis."""
    known: dict[str, set[str]] = {STUDY: {study.name for study in tier.studies}}
    for axis in (axis for study in tier.studies for axis in study.axes):
        known.setdefault(axis.name, set()).update(choice.label for choice in axis.choices)
    wanted: dict[str, set[str]] = {}
    for axis, label in only:
        if axis not in known:
            raise ConfigError(f"--only {axis}={label}: there is no axis '{axis}'{_near(axis, known)}")
        if label not in known[axis]:
            raise ConfigError(f"--only {axis}={label}: {axis} has no '{label}'{_near(label, known[axis])}")
        # [("kind", "early"), ("kind", "late"), ("layer", "2")] gives {"kind": {"early", "late"}, "layer": {"2"}}.
        wanted.setdefault(axis, set()).add(label)
    return wanted


def _near(name: str, known: Collection[str]) -> str:
    """Return the end of an error message: the closest known name, or all of them."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; do you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(known))}"


def _experiment(study: Study, point: Sequence[Choice], labels: Mapping[str, str], seed: int) -> Experiment:
    """Return the settings of a cell."""
    experiment = study.base
    try:
        for choice in point:
            experiment = override(experiment, choice.fields)
            # Fields first: a change may compute from them, such as rows that fit the new number of tokens.
            experiment = choice.change(experiment) if choice.change is not None else experiment
        return override(experiment, {"training.seed": seed})
    except (ValueError, TypeError, KeyError) as error:
        told = ", ".join(f"{axis}={label}" for axis, label in labels.items())
        raise ConfigError(f"study '{study.name}', cell {told}: {error}") from error


def _digest(experiment: Experiment) -> str:
    """Return a digest that is equal for experiments that differ only in name."""
    return hashlib.sha256(to_json(dataclasses.replace(experiment, name="")).encode()).hexdigest()


def _plain(label: str) -> str:
    """Return a label in characters that are safe in a folder name: `video + audio` becomes `video-+-audio`."""
    return re.sub(r"[^\w.+-]+", "-", label).strip("-")
