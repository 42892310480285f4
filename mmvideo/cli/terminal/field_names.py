"""Checks of flags against the fields of an experiment, before JAX and Flax are imported.

A recipe imports its objectives, and with them JAX and Flax, which takes most of two seconds. All other settings are
plain dataclasses. A flag that fits none of them is a typing mistake in any recipe, and so is a missing corpus. Names
that depend on the recipe are left to `usage_errors.parse_fields`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from mmvideo.cli.terminal.usage_errors import UsageError, did_you_mean

ANY = object()
"""A field below which any name may be valid."""


def check_flags(arguments: Sequence[str], prog: str) -> None:
    """Reject flags that name no field of any experiment, and corpora that do not exist.

    Args:
      arguments: flags and values, such as `--training.steps 50`.
      prog: name of the command in messages.

    Raises:
      UsageError: an unknown field, with the most similar one.
      CorpusError: a folder that is no corpus.
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
        # --input.sources.0.path corpora/a: parts are input, sources, 0, path, and the value is the next argument.
        if parts[0] in ("input", "evaluation") and parts[1:2] == ["sources"] and parts[3:] == ["path"]:
            # --input.sources.0.path=corpora/a has its value after the sign; a flag at the very end has none, and "" is
            # not checked.
            value = value if equals else "".join(arguments[place + 1 : place + 2])
            _check_path(value, ".".join(parts[:3]))


def _check_path(path: str, field: str) -> None:
    """Check that the corpus exists."""
    from mmvideo.experiment.input_checks import check_source

    if path and not path.startswith("--"):
        check_source(path, None, field)


def _rooms() -> dict[str, Any]:
    """Return the fields of an experiment with their types; only the recipe knows those of its objectives."""
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
    """Return the fields of a type, with `*` for any name or index; None for a plain value.

    Example: `Video | None` has the fields of `Video`, and `tuple[Source, ...]` has `{"*": Source}`.
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
        # Reversed, so that of a name in several types of a union the first type wins.
        return {name: kind for fields in reversed(found) for name, kind in fields.items()} if found else None
    if origin in (tuple, list) and inner and _below(inner[0]) is not None:
        return {"*": inner[0]}
    return {"*": ANY} if origin is dict else None


def _fits(kind: Any, parts: Sequence[str]) -> bool:
    """Return True if a field of this dotted name may exist."""
    if not parts:
        return True
    fields = _below(kind)
    if fields is None:
        return False
    # "sources.0.path": `sources` is a tuple, so "0" matches "*", and `path` is a field of Source.
    inner = fields.get(parts[0], fields.get("*"))
    return inner is not None and (inner is ANY or _fits(inner, parts[1:]))


def _names(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all fields below a type, with index 0 for sequences."""
    fields = _below(kind)
    if not fields or fields.keys() == {"*"} and fields["*"] is ANY:
        yield prefix
        return
    for name, inner in fields.items():
        part = "0" if name == "*" else name
        yield from _names(inner, f"{prefix}.{part}" if prefix else part)
