"""Compares flags with the fields of an experiment before JAX and Flax are imported.

A recipe imports its objectives, and with them JAX and Flax, which takes most of two seconds. The settings of all other
rooms are plain dataclasses. A flag that fits none of them is a typing mistake whatever the recipe says, and so is a
corpus that isn't there. What only the recipe can tell is left to `mistakes.parse_fields`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from mmvideo.cli.terminal.usage_errors import UsageError, did_you_mean

ANY = object()
"""A field below which every name may be right."""


def check_flags(arguments: Sequence[str], prog: str) -> None:
    """Refuse flags that name no field of any experiment, and corpora that are not there.

    Args:
      arguments: flags and values, such as `--training.steps 50`.
      prog: how messages call the command.

    Raises:
      UsageError: there is no such field, with the nearest that there is.
      CorpusError: a flag names a folder that is no corpus.
    """
    if not any(argument.startswith("--") for argument in arguments):
        return
    rooms = _rooms()
    for place, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        name = flag[2:].replace("-", "_")
        if not flag.startswith("--") or name in ("", "help") or name.startswith("tyro_"):
            continue
        parts = name.split(".")
        if not _fits(rooms, parts):
            near = did_you_mean(flag[2:], (known.replace("_", "-") for known in _names(rooms)))
            raise UsageError(f"there is no field '{flag[2:]}'{near}; {prog} --help lists them")
        if parts[0] in ("input", "evaluation") and parts[1:2] == ["sources"] and parts[3:] == ["path"]:
            value = value if equals else "".join(arguments[place + 1 : place + 2])
            _check_path(value, ".".join(parts[:3]))


def _check_path(path: str, field: str) -> None:
    from mmvideo.experiment.input_checks import check_source

    if path and not path.startswith("--"):
        check_source(path, None, field)


def _rooms() -> dict[str, Any]:
    """The fields of an experiment and their types; those of objectives are known by the recipe alone."""
    from mmvideo.evaluation.config import Evaluation
    from mmvideo.input.config import Input
    from mmvideo.model.kinds import ModelConfig
    from mmvideo.parallel.config import Mesh
    from mmvideo.training.config import Training

    return {
        "name": str,
        "input": Input,
        "model": ModelConfig,
        "objectives": ANY,
        "training": Training,
        "mesh": Mesh,
        "evaluation": Evaluation,
        "choose": ANY,
    }


def _below(kind: Any) -> dict[str, Any] | None:
    """The fields of a type, `*` for any name or number; None of a value.

    Example: those of `Video | None` are `Video`'s, and those of `tuple[Source, ...]` are `{"*": Source}`.
    """
    if isinstance(kind, dict):
        return kind
    if kind is ANY:
        return {"*": ANY}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _below(inner[0])
    if origin in (typing.Union, types.UnionType):
        found = [fields for fields in map(_below, inner) if fields is not None]
        return {name: kind for fields in reversed(found) for name, kind in fields.items()} if found else None
    if origin in (tuple, list) and inner and _below(inner[0]) is not None:
        return {"*": inner[0]}
    return {"*": ANY} if origin is dict else None


def _fits(kind: Any, parts: Sequence[str]) -> bool:
    """Whether a field of that dotted name may be there."""
    if not parts:
        return True
    fields = _below(kind)
    if fields is None:
        return False
    inner = fields.get(parts[0], fields.get("*"))
    return inner is not None and (inner is ANY or _fits(inner, parts[1:]))


def _names(kind: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields below a type, the first of several."""
    fields = _below(kind)
    if not fields or fields.keys() == {"*"} and fields["*"] is ANY:
        yield prefix
        return
    for name, inner in fields.items():
        part = "0" if name == "*" else name
        yield from _names(inner, f"{prefix}.{part}" if prefix else part)
