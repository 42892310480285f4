"""The settings of a run: one frozen dataclass with those of every package, and its JSON.

A recipe is a Python file that defines `experiment`, and perhaps further experiments, which are named after a colon
(`recipe.py:tiny`). The resolved settings of a run are in its workdir as `config.json`. Both load to an equal
`Experiment`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import runpy
from pathlib import Path
from typing import Any

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.find_config import ConfigError, find_config
from mmvideo.input.config import Input
from mmvideo.model.config import Model
from mmvideo.model.kinds import ModelConfig
from mmvideo.objectives import AnyObjective
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Training

__all__ = ["ConfigError", "Experiment", "from_json", "load_experiment", "to_json"]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All settings of a run.

    Attributes:
      name: short name; the default workdir is `runs/NAME`.
      input: tokens of each step.
      model: transformer, or a baseline to compare it with.
      objectives: training objectives by name, each with its weight.
      training: duration, optimizer and trained parameters.
      mesh: division of the work between devices.
      evaluation: measurements.
      choose: fields that are chosen from the training clips when a run begins, such as `input.video` (all of its fields
        that depend on the corpus) or `training.steps`; flags take precedence. None chooses nothing, as in the
        config.json of a run, which has the chosen values.
    """

    name: str
    input: Input = Input()
    model: ModelConfig = Model()
    objectives: dict[str, AnyObjective] = dataclasses.field(default_factory=dict)
    training: Training = Training()
    mesh: Mesh = Mesh()
    evaluation: Evaluation = Evaluation()
    choose: tuple[str, ...] | None = None


def to_json(experiment: Experiment) -> str:
    """Return the experiment as indented JSON with every field."""
    return json.dumps(_adapter().dump_python(experiment, mode="json"), indent=2) + "\n"


def _read_above_fusion(raw: Any) -> None:
    """Set `after_fusion` for heads of a file from before that field: they read the last layer.

    Such a file has every other field of the heads. A file written by hand, with only some fields, gets the default.
    """
    objectives = raw.get("objectives") if isinstance(raw, dict) else None
    for one in objectives.values() if isinstance(objectives, dict) else ():
        # These four fields together mark a head written by `to_json`.
        if isinstance(one, dict) and {"require", "init_scale", "pooling", "kind"} <= one.keys():
            one.setdefault("after_fusion", True)


_OLD_NAMES = {"presence": "modality_dropout", "drop": "drop_token"}
"""Old and new names of `input` fields that were renamed before 0.1.0."""


def _read_old_names(raw: Any) -> None:
    """Rename fields of a file from before 0.1.0."""
    settings = raw.get("input") if isinstance(raw, dict) else None
    if isinstance(settings, dict):
        for old, new in _OLD_NAMES.items():
            if old in settings and new not in settings:
                settings[new] = settings.pop(old)


def from_json(text: str, origin: str = "config.json") -> Experiment:
    """Return the experiment that `to_json` wrote.

    Raises:
      ConfigError: invalid JSON, an unknown field, or a value of the wrong type; `origin` names the file.
    """
    import pydantic

    try:
        raw = json.loads(text)
        _read_above_fusion(raw)
        _read_old_names(raw)
        experiment = _adapter().validate_python(raw)
    except (json.JSONDecodeError, RecursionError) as error:  # Lists in lists in lists.
        raise ConfigError(f"{origin} is not JSON that can be read: {error}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{origin}: field '{field}': {first['msg']} (got {first['input']!r})") from None
    # Pydantic ignores unknown fields of dataclasses, so the file is compared with the experiment written out again.
    unknown = _unknown(raw, _adapter().dump_python(experiment, mode="json"), "")
    if unknown:
        raise ConfigError(f"{origin}: there is no field '{unknown[0]}'; remove it, or update mmvideo if it is newer")
    return experiment


def load_experiment(path: str | Path) -> Experiment:
    """Read a recipe (a Python file that defines `experiment`), a config.json, or the config.json of a workdir.

    Args:
      path: file or folder; `recipe.py:tiny` selects the experiment that the recipe calls `tiny`.

    Raises:
      ConfigError: a missing file or experiment; the message says what to do.
    """
    path, name = find_config(path)
    if path.suffix == ".json":
        return from_json(_text(path), str(path))
    defined = {key: value for key, value in _run_recipe(path).items() if isinstance(value, Experiment)}
    if name not in defined:
        others = f"; it has {', '.join(defined)}" if defined else ""
        raise ConfigError(f"{path} must define `{name} = Experiment(...)`{others}")
    return defined[name]


def _text(path: Path) -> str:
    """Return the text of a file.

    Raises:
      ConfigError: bytes that are not UTF-8, with their offset.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is damaged: byte {error.start} is not UTF-8") from None


def _run_recipe(path: Path) -> dict[str, Any]:
    """Return the names that a recipe defines.

    Raises:
      ConfigError: an error in the recipe, with its line.
    """
    try:
        return runpy.run_path(str(path))
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (ValueError, OSError):  # Of ours, and of files that it reads: they say what is wrong.
        raise
    except Exception as error:
        kind = "" if isinstance(error, (TypeError, NameError, ImportError, AttributeError)) else type(error).__name__
        raise ConfigError(f"{path}{_line_in(path, error)}: {kind}{': ' if kind else ''}{error}") from error


def _line_in(path: Path, error: BaseException) -> str:
    """Return `, line N` for the line of the recipe that caused an error; empty where the traceback has none."""
    trace, line = error.__traceback__, None
    # The last frame in the recipe wins: the traceback goes from the outer call to the inner ones, through library code.
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""


@functools.cache
def _adapter() -> Any:
    """Return the pydantic adapter. It is cached: building it takes ten times as long as using it."""
    import pydantic

    return pydantic.TypeAdapter(Experiment)


def _unknown(raw: Any, known: Any, prefix: str) -> list[str]:
    """Return the dotted names in `raw` that `known` lacks, such as `training.stepz`."""
    if isinstance(raw, dict) and isinstance(known, dict):
        # {"training": {"stepz": 5}} against the known fields gives ["training.stepz"].
        here = [f"{prefix}{key}" for key in raw if key not in known]
        shared = [key for key in raw if key in known]
        return here + [name for key in shared for name in _unknown(raw[key], known[key], f"{prefix}{key}.")]
    if isinstance(raw, list) and isinstance(known, list):
        pairs = enumerate(zip(raw, known, strict=False))
        return [name for number, (a, b) in pairs for name in _unknown(a, b, f"{prefix}{number}.")]
    return []
