"""Fields of an experiment by dotted names, set and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmvideo.experiment.config import Experiment, to_json
from mmvideo.experiment.dotted_fields import override

__all__ = ["PART", "differences", "flat", "override"]


PART = "{…}"
"""Stand-in value for a group of settings that some of the compared experiments lack."""


def _with_kinds(fields: dict[str, Any]) -> dict[str, Any]:
    """Add a field with the kind of each objective, before the objective's own fields."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        objective = ".".join(name.split(".")[:2])
        if _is_objective(objective) and name != objective:
            # "objectives.caption.kind": "captioning" also gives "objectives.caption": "captioning".
            found.setdefault(objective, fields.get(f"{objective}.kind", PART))
        found[name] = value
    return found


def _is_objective(name: str) -> bool:
    """Return True for the name of an objective itself, such as `objectives.caption`."""
    return name.startswith("objectives.") and name.count(".") == 1


def flat(experiment: Experiment) -> dict[str, Any]:
    """Return every field of an experiment by its dotted name."""
    found: dict[str, Any] = {}

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, dict) and node:
            for name, value in node.items():
                walk(value, f"{prefix}.{name}" if prefix else name)
        else:
            found[prefix] = node

    walk(json.loads(to_json(experiment)), "")
    return found


def differences(experiments: Mapping[str, Experiment]) -> dict[str, dict[str, Any]]:
    """Return the fields in which experiments differ, with the value of each experiment that has the field.

    A group that some experiments lack, such as `input.audio`, is listed as a whole: `PART` where present, None where
    absent. An objective is listed by its kind. Fields of a group are listed only where the experiments that have it
    differ in them.
    """
    # Example: a has input.audio = None, b has input.audio.seconds = 2.0. Then above = parts = ["input.audio"], b gets
    # "input.audio": PART, and the result is {"input.audio": {"a": None, "b": PART}} without the line for seconds.
    fields = {name: _with_kinds(flat(experiment)) for name, experiment in experiments.items()}
    names = dict.fromkeys(field for own in fields.values() for field in own)
    above = [name for name in names if any(other.startswith(f"{name}.") for other in names)]
    # Of the groups, those that are None in at least one experiment.
    parts = [name for name in above if any(own.get(name, PART) is None for own in fields.values())]
    parts += [name for name in above if _is_objective(name) and any(name not in own for own in fields.values())]
    for own in fields.values():
        own |= {part: None if _is_objective(part) else PART for part in parts if part not in own}

    def differs(field: str) -> bool:
        if field in above and field not in parts:
            return False
        partly = any(field.startswith(f"{part}.") for part in parts)
        # In an optional group only its owners are compared; elsewhere a missing field counts as None.
        values = [own.get(field) for own in fields.values() if field in own or not partly]
        return len({json.dumps(value, sort_keys=True) for value in values}) > 1

    return {
        field: {name: own.get(field) for name, own in fields.items()}
        for field in names
        if field != "name" and differs(field)
    }
