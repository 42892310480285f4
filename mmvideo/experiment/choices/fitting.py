"""Settings that are chosen from the corpus when a run begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmvideo.experiment.choices import objective_choices, run_length_choices
from mmvideo.experiment.choices.objective_choices import Found
from mmvideo.experiment.config import Experiment, from_json
from mmvideo.experiment.dotted_fields import field_of, override
from mmvideo.experiment.find_config import CONFIG, ConfigError
from mmvideo.input.advice.choice import Chooser, Situation
from mmvideo.input.advice.input_choices import INPUT
from mmvideo.input.mixture import CorpusMixture
from mmvideo.objectives import Classification


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A field that was chosen.

    Attributes:
      field: its dotted name.
      value: what was chosen.
      why: the reason.
    """

    field: str
    value: Any
    why: str


Step = Callable[[Experiment, CorpusMixture, frozenset[str]], Found]
"""Gives values and reasons by the names of fields."""


def _of_input(field: str, choose: Chooser) -> Step:
    def step(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
        choice = choose(Situation(experiment.input, corpus, given))
        return {} if choice is None else {field: (choice.value, choice.why)}

    return step


def _of_run(field: str, choose: Callable) -> Step:
    def step(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
        choice = choose(experiment, corpus, given)
        return {} if choice is None else {field: (choice.value, choice.why)}

    return step


STEPS: dict[str, Step] = {
    **{field: _of_input(field, choose) for field, choose in INPUT.items()},
    "objectives": objective_choices.choose_objectives,
    "training.steps": _of_run("training.steps", run_length_choices.choose_steps),
    "training.optimizer.warmup": _of_run("training.optimizer.warmup", run_length_choices.choose_warmup),
    "evaluation.views": _of_run("evaluation.views", run_length_choices.choose_views),
}
"""What can be chosen, in the order in which one follows from another."""


def is_open(experiment: Experiment) -> bool:
    """Whether something of the settings is left to the corpus."""
    classes = (one for one in experiment.objectives.values() if isinstance(one, Classification))
    return bool(experiment.choose) or any(one.classes is None for one in classes)


def fit(
    experiment: Experiment, given: frozenset[str] = frozenset(), workdir: str | Path | None = None
) -> tuple[Experiment, list[Chosen]]:
    """Choose what the settings leave to the corpus: what `choose` names, and classes that nobody counted.

    Args:
      experiment: the settings.
      given: dotted names of fields that the user gave; they stay as they are, and other choices follow them.
      workdir: of a run that may have begun; its choices are kept, but for objectives, which follow from the labels.

    Returns:
      The settings with nothing left open, and what was chosen now, in order.

    Raises:
      ConfigError: `choose` names what can't be chosen, or the corpus lacks what the objectives ask for.
      CorpusError: a folder is no complete corpus.
    """
    _check_names(experiment.choose)
    before = None if workdir is None else _begun(Path(workdir))
    found: list[Chosen] = []
    corpus = open_sources(experiment)
    for name, step in _wanted(experiment):
        choices = step(experiment, corpus, given) if before is None or name == "objectives" else _kept(before, name)
        for field, (value, why) in choices.items():
            if field in given:
                continue
            experiment = _with_given(experiment, field, value, given)
            found.append(Chosen(field, field_of(experiment, field), why))
    return dataclasses.replace(experiment, choose=None), found if before is None else []


def open_sources(experiment: Experiment) -> CorpusMixture:
    """Open the training clips of an experiment; raises CorpusError where a source is no corpus."""
    from mmvideo.datasets.corpus import open_corpus

    return CorpusMixture([open_corpus(source.path, source.split) for source in experiment.input.sources])


def given_fields(arguments: list[str]) -> frozenset[str]:
    """Return the dotted names of the fields that flags give: `input.video.size` of `--input.video.size=64`."""
    flags = (argument.split("=")[0] for argument in arguments if argument.startswith("--"))
    return frozenset(flag[2:].replace("-", "_") for flag in flags)


def choice_lines(chosen: list[Chosen]) -> Iterator[str]:
    """Give a line for each choice: the field, its value, the reason."""
    rows = [(one.field, _value(one.value), one.why) for one in chosen]
    wide, long = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    for field, value, why in rows:
        yield f"  {field:<{wide}}  {value:<{min(long, 24)}}  {why}".rstrip()


def _value(value: Any) -> str:
    """A value as a flag would give it; of an object what isn't its default."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(value)
    if dataclasses.is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return " ".join(f"{name} {one}" for name, one in own.items() if one is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wanted(experiment: Experiment) -> list[tuple[str, Step]]:
    """The steps that `choose` asks for, by name; classes are counted in any case."""
    groups = experiment.choose or ()
    wanted = [(name, step) for name, step in STEPS.items() if any(_within(name, group) for group in groups)]
    if "objectives" not in dict(wanted):
        wanted.append(("objectives", objective_choices.choose_classes))
    return wanted


def _within(name: str, group: str) -> bool:
    return name == group or name.startswith(f"{group}.")


def _check_names(choose: tuple[str, ...] | None) -> None:
    for group in choose or ():
        if not any(_within(name, group) for name in STEPS):
            raise ConfigError(f"choose names {group!r}, which no corpus tells; it tells {', '.join(STEPS)}")


def _with_given(experiment: Experiment, field: str, value: Any, given: frozenset[str]) -> Experiment:
    """Set a field, within which fields that were given stay."""
    within = [name for name in given if name.startswith(f"{field}.")]
    kept = {name: field_of(experiment, name) for name in within}
    changed = override(experiment, {field: value})
    for name, own in kept.items():
        try:
            changed = override(changed, {name: own})
        except (KeyError, ValueError):
            raise ConfigError(
                f"--{name} is given, but {field} is {_value(value)} here: {_lacking(field)}; leave the flag out"
            ) from None
    return changed


def _lacking(field: str) -> str:
    """What no clip of the corpus has where a part of the settings is left out."""
    names = {"input.video": "video", "input.audio": "audio", "input.text": "a caption"}
    return f"no clip has {names[field]}" if field in names else "the clips don't have what it needs"


def _begun(workdir: Path) -> Experiment | None:
    """The settings of a run that has a checkpoint in the workdir; None where there is none that can be read."""
    if not any((workdir / "checkpoints").glob("[0-9]*")):
        return None
    try:
        return from_json((workdir / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _kept(before: Experiment, field: str) -> Found:
    """The value of a field in a run that has begun; none within a part that the run does without.

    Of a part that it has, such as `input.video`, only the fields that are chosen are kept.
    """
    try:
        value = field_of(before, field)
    except KeyError:
        return {}
    part = any(name.startswith(f"{field}.") for name in STEPS)
    return {} if part and value is not None else {field: (value, "")}
