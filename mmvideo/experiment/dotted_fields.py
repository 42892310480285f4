"""Fields of an experiment by dotted names."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from mmvideo.experiment.config import Experiment


def override(experiment: Experiment, fields: Mapping[str, Any]) -> Experiment:
    """Return the experiment with new values for some fields.

    Args:
      experiment: the settings.
      fields: values by dotted name, such as `model.fusion.layer`; names of objectives are keys of their dict.

    Raises:
      ValueError: an unknown field; the message names similar ones.
    """
    for name, value in fields.items():
        experiment = _with(experiment, name.split("."), value, name)
    return experiment


def field_of(experiment: Experiment, name: str) -> Any:
    """Return the value of a field by its dotted name.

    Raises:
      KeyError: an unknown field, or a group of settings on the path is None.
    """
    node: Any = experiment
    for part in name.split("."):
        if isinstance(node, Mapping):
            node = node[part]
        elif dataclasses.is_dataclass(node) and hasattr(node, part):
            node = getattr(node, part)
        else:
            raise KeyError(name)
    return node


def _with(node: Any, path: list[str], value: Any, name: str) -> Any:
    """Return a node with a new value at a path below it; frozen dataclasses and dicts are copied along the path."""
    first, *rest = path
    if dataclasses.is_dataclass(node):
        known = [field.name for field in dataclasses.fields(node)]
    elif isinstance(node, Mapping):
        known = list(node)
    else:
        raise ValueError(f"field '{name}': '{first}' is asked of {node!r}, which has no fields")
    # Only the last name of a path may be new, and only in a dict: `objectives.caption` adds an objective, but
    # `objectives.caption.weight` without that objective is a mistake.
    if first not in known and not (isinstance(node, Mapping) and not rest):
        near = difflib.get_close_matches(first, known, 1)
        raise ValueError(
            f"field '{name}': there is no '{first}'; "
            + (f"do you mean '{near[0]}'?" if near else f"there are {', '.join(known)}")
        )
    if isinstance(node, Mapping):
        return {**node, first: _with(node[first], rest, value, name) if rest else value}
    return dataclasses.replace(node, **{first: _with(getattr(node, first), rest, value, name) if rest else value})
