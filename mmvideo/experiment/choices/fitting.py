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
    """A chosen field.

    Attributes:
      field: dotted name.
      value: chosen value.
      why: reason.
    """

    field: str
    value: Any
    why: str


Step = Callable[[Experiment, CorpusMixture, frozenset[str]], Found]
"""Function that returns values and reasons by field name."""


def _of_input(field: str, choose: Chooser) -> Step:
    """Return the step of an input field."""

    def step(experiment: Experiment, corpus: CorpusMixture, given: frozenset[str]) -> Found:
        choice = choose(Situation(experiment.input, corpus, given))
        return {} if choice is None else {field: (choice.value, choice.why)}

    return step


def _of_run(field: str, choose: Callable) -> Step:
    """Return the step of a training or evaluation field."""

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
"""All fields that can be chosen, in order of dependence: later choices use earlier ones."""


def is_open(experiment: Experiment) -> bool:
    """Return True if the corpus decides some of the settings."""
    classes = (one for one in experiment.objectives.values() if isinstance(one, Classification))
    return bool(experiment.choose) or any(one.classes is None for one in classes)


def fit(
    experiment: Experiment, given: frozenset[str] = frozenset(), workdir: str | Path | None = None
) -> tuple[Experiment, list[Chosen]]:
    """Choose the settings that are left to the corpus: the fields in `choose`, and numbers of classes that are None.

    Args:
      experiment: the settings.
      given: dotted names of fields that the user set; they are kept, and other choices adapt to them.
      workdir: workdir of a run that may have started; its choices are kept, except objectives, which follow from the
        labels.

    Returns:
      The complete settings, and the new choices in order.

    Raises:
      ConfigError: `choose` names a field that cannot be chosen, or the corpus lacks what the objectives need.
      CorpusError: a folder is no complete corpus.
    """
    _check_names(experiment.choose)
    # A resumed run must keep its shapes even if clips were added to the corpus since.
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
    """Open the training clips of an experiment.

    Raises:
      CorpusError: a source is no corpus.
    """
    from mmvideo.datasets.corpus import open_corpus

    return CorpusMixture([open_corpus(source.path, source.split) for source in experiment.input.sources])


def given_fields(arguments: list[str]) -> frozenset[str]:
    """Return the dotted names of the fields that flags set: `input.video.size` for `--input.video.size=64`."""
    flags = (argument.split("=")[0] for argument in arguments if argument.startswith("--"))
    return frozenset(flag[2:].replace("-", "_") for flag in flags)


def choice_lines(chosen: list[Chosen]) -> Iterator[str]:
    """Yield a line for each choice: field, value and reason."""
    rows = [(one.field, _value(one.value), one.why) for one in chosen]
    # Aligned columns; a value of more than 24 characters shifts only its own reason.
    wide, long = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    for field, value, why in rows:
        yield f"  {field:<{wide}}  {value:<{min(long, 24)}}  {why}".rstrip()


def _value(value: Any) -> str:
    """Return a value as in a flag; for an object, its fields that are not None."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(value)
    if dataclasses.is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return " ".join(f"{name} {one}" for name, one in own.items() if one is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wanted(experiment: Experiment) -> list[tuple[str, Step]]:
    """Return the steps that `choose` requests, by name; classes are always counted."""
    groups = experiment.choose or ()
    # choose = ("input.video",) selects the steps input.video, input.video.fps, … and no other.
    wanted = [(name, step) for name, step in STEPS.items() if any(_within(name, group) for group in groups)]
    if "objectives" not in dict(wanted):
        wanted.append(("objectives", objective_choices.choose_classes))
    return wanted


def _within(name: str, group: str) -> bool:
    """Return True if a name is the group itself or lies below it."""
    return name == group or name.startswith(f"{group}.")


def _check_names(choose: tuple[str, ...] | None) -> None:
    """Raise if `choose` names something that cannot be chosen."""
    for group in choose or ():
        if not any(_within(name, group) for name in STEPS):
            raise ConfigError(
                f"choose names {group!r}, which cannot be chosen from a corpus; these can: {', '.join(STEPS)}"
            )


def _with_given(experiment: Experiment, field: str, value: Any, given: frozenset[str]) -> Experiment:
    """Set a field, but keep the fields below it that the user set."""
    # --input.video.size 64 with a chosen input.video: the choice replaces the whole group, then 64 is put back.
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
    """Return what the corpus lacks where a group of settings is left out."""
    names = {"input.video": "video", "input.audio": "audio", "input.text": "a caption"}
    return f"no clip has {names[field]}" if field in names else "the clips don't have what it needs"


def _begun(workdir: Path) -> Experiment | None:
    """Return the settings of a run that has a checkpoint; None where there is none or they cannot be read."""
    if not any((workdir / "checkpoints").glob("[0-9]*")):
        return None
    try:
        return from_json((workdir / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _kept(before: Experiment, field: str) -> Found:
    """Return the value of a field in a started run; nothing for a field of a group that the run does without.

    Of a group that the run has, such as `input.video`, only the chosen fields are kept.
    """
    try:
        value = field_of(before, field)
    except KeyError:
        return {}
    part = any(name.startswith(f"{field}.") for name in STEPS)
    return {} if part and value is not None else {field: (value, "")}
