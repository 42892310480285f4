"""The settings of a run: one frozen dataclass that holds those of every room, and its JSON.

A recipe is a Python file that defines `experiment`, and perhaps others that are named behind a colon
(`recipe.py:tiny`); the resolved settings of a run lie in its workdir as `config.json`. All load to an
equal `Experiment`.
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
    """A whole run.

    Attributes:
      name: a short name; the workdir is `runs/NAME` unless another is given.
      input: which tokens each step sees.
      model: the transformer, or a baseline to compare it with.
      objectives: what is learned, by name; each has its own weight.
      training: how long and with which optimiser.
      mesh: how devices share the work.
      evaluation: what is measured.
      choose: fields that are chosen from the training clips when a run begins, such as `input.video` (all of it that a
        corpus tells) or `training.steps`; flags go before. None leaves nothing to them, as in
        the config.json of a run, which holds what was chosen.
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
    """The experiment as indented JSON with every field written out."""
    return json.dumps(_adapter().dump_python(experiment, mode="json"), indent=2) + "\n"


def _read_above_fusion(raw: Any) -> None:
    """Say of heads in a file from before `after_fusion` what they did: read the last layer.

    Such a file holds every other field of theirs; one written by hand, with some fields, takes the default.
    """
    objectives = raw.get("objectives") if isinstance(raw, dict) else None
    for one in objectives.values() if isinstance(objectives, dict) else ():
        if isinstance(one, dict) and {"require", "init_scale", "pooling", "kind"} <= one.keys():
            one.setdefault("after_fusion", True)


_OLD_NAMES = {"presence": "modality_dropout", "drop": "drop_token"}
"""Fields of `input` as files written before 0.1.0 call them, and their names now."""


def _read_old_names(raw: Any) -> None:
    """Give fields of a file from before 0.1.0 the names that they have now."""
    settings = raw.get("input") if isinstance(raw, dict) else None
    if isinstance(settings, dict):
        for old, new in _OLD_NAMES.items():
            if old in settings and new not in settings:
                settings[new] = settings.pop(old)


def from_json(text: str, origin: str = "config.json") -> Experiment:
    """The experiment that `to_json` wrote.

    Raises:
      ConfigError: not JSON, a field that doesn't exist, or a value of the wrong kind; `origin` names the file.
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
    unknown = _unknown(raw, _adapter().dump_python(experiment, mode="json"), "")
    if unknown:
        raise ConfigError(f"{origin}: there is no field '{unknown[0]}'; remove it, or update mmvideo if it is newer")
    return experiment


def load_experiment(path: str | Path) -> Experiment:
    """Reads a recipe (a Python file that defines `experiment`), a config.json, or a workdir that holds one.

    Args:
      path: the file or folder; `recipe.py:tiny` takes the experiment that the recipe calls `tiny`.

    Raises:
      ConfigError: the file isn't there or defines no such experiment, with what to do.
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
    """The text of a file; bytes that are not UTF-8 are told of with their place."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is damaged: byte {error.start} is not UTF-8") from None


def _run_recipe(path: Path) -> dict[str, Any]:
    """The names a recipe defines; a mistake in it is told with its line."""
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
    """`, line N` of the recipe in which an error arose, where the traceback tells."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""


@functools.cache
def _adapter() -> Any:
    """Made once: that takes ten times as long as what it is used for, and suites write hundreds of experiments."""
    import pydantic

    return pydantic.TypeAdapter(Experiment)


def _unknown(raw: Any, known: Any, prefix: str) -> list[str]:
    """Dotted names in `raw` that `known` doesn't have."""
    if isinstance(raw, dict) and isinstance(known, dict):
        here = [f"{prefix}{key}" for key in raw if key not in known]
        shared = [key for key in raw if key in known]
        return here + [name for key in shared for name in _unknown(raw[key], known[key], f"{prefix}{key}.")]
    if isinstance(raw, list) and isinstance(known, list):
        pairs = enumerate(zip(raw, known, strict=False))
        return [name for number, (a, b) in pairs for name in _unknown(a, b, f"{prefix}{number}.")]
    return []
