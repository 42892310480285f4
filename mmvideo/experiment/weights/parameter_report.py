"""What a new run took of a checkpoint, what it changed, made anew or left there; and whether that is as expected."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.records.sealed import seal
from mmvideo.records.whole import write_whole

Shape = tuple[int, ...]

RECORD = "init.json"
"""The file of a workdir that tells where its first parameters come from."""

SHOWN = 4
"""How many groups, names or patterns a line shows before it says `and … more`."""


@dataclasses.dataclass(frozen=True)
class ParamReport:
    """Every parameter of the new model, and every one of the checkpoint, in one of five groups.

    Attributes:
      source: the checkpoint, in words.
      loaded: shape by name of those that were taken as they are.
      resized: shapes there and here, and how one became the other, by name.
      fresh: shape and reason by name of those that start anew.
      ignored: the same of those that stay behind.
      surprises: what nothing explains: a line for each kind of mismatch, with what to do.
    """

    source: str
    loaded: Mapping[str, Shape]
    resized: Mapping[str, tuple[Shape, Shape, str]]
    fresh: Mapping[str, tuple[Shape, str]]
    ignored: Mapping[str, tuple[Shape, str]]
    surprises: Sequence[str] = ()

    def lines(self) -> list[str]:
        """The groups for the screen, with how many parameters and numbers each has."""
        resized = {name: here for name, (_, here, _) in self.resized.items()}
        changes = [
            f"{name} {_sizes(there)} → {_sizes(here)} ({how})" if there != here else f"{name} {_sizes(here)} ({how})"
            for name, (there, here, how) in sorted(self.resized.items())
        ]
        rows = [
            ("loaded", self.loaded, _shorten(_groups(self.loaded), "; ")),
            ("resized", resized, _shorten(changes, "; ")),
            ("new", _shapes(self.fresh), _shorten(_reasons(self.fresh), "; ")),
            ("ignored", _shapes(self.ignored), _shorten(_reasons(self.ignored), "; ")),
        ]
        found = [
            f"  {what:<8}{len(shapes):>4} parameters, {_count(shapes):>13,} numbers: {detail}"
            for what, shapes, detail in rows
            if shapes
        ]
        return [f"first parameters from {self.source}", *found]

    def record(self) -> dict[str, Any]:
        """The groups as plain values for JSON."""
        return {
            "source": self.source,
            "loaded": {name: list(shape) for name, shape in sorted(self.loaded.items())},
            "resized": {
                name: {"from": list(there), "to": list(here), "how": how}
                for name, (there, here, how) in sorted(self.resized.items())
            },
            "new": _records(self.fresh),
            "ignored": _records(self.ignored),
        }

    def write(self, workdir: Path) -> None:
        """Writes `init.json`, sealed."""
        write_whole(workdir / RECORD, json.dumps(seal(self.record()), indent=1) + "\n")


def patterns(names: Iterable[str], others: Iterable[str]) -> str:
    """Patterns, as a setting takes them, that match all of the names and none of the others; no more than a few."""
    names, others = sorted(names), list(others)
    found = dict.fromkeys(_pattern(name, names, others) for name in names)
    return " ".join(f"'{pattern}'" for pattern in list(found)[: 2 * SHOWN]) + (" …" if len(found) > 2 * SHOWN else "")


def _pattern(name: str, names: Sequence[str], others: Sequence[str]) -> str:
    """The widest pattern by leading parts of a name that matches more than it and no other; or the name."""
    parts = name.split(".")
    for count in range(2, len(parts)):
        start = ".".join(parts[:count]) + "."
        if not any(other.startswith(start) for other in others):
            return f"{start}*" if sum(each.startswith(start) for each in names) > 1 else name
    return name


def objective_of(name: str) -> str | None:
    """The objective whose heads a parameter is of; None for one of the trunk."""
    room, *rest = name.split(".")
    return rest[0] if room == "heads" else None


def modalities_of(name: str) -> set[str]:
    """The modalities that the name of a parameter speaks of: those whose absence explains its own."""
    if name.startswith("trunk.space."):
        return {"video"}
    return set(re.split(r"[.+_-]", name)) & {"video", "audio", "text"}


def _shapes(group: Mapping[str, tuple[Shape, str]]) -> dict[str, Shape]:
    return {name: shape for name, (shape, _) in group.items()}


def _records(group: Mapping[str, tuple[Shape, str]]) -> dict[str, Any]:
    return {name: {"shape": list(shape), "why": why} for name, (shape, why) in sorted(group.items())}


def _count(shapes: Mapping[str, Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _groups(names: Iterable[str]) -> list[str]:
    """`trunk.blocks (12)`: the first two parts of the names, with how many there are of each."""
    counts: dict[str, int] = {}
    for name in sorted(names):
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    return [f"{group} ({count})" for group, count in counts.items()]


def _reasons(group: Mapping[str, tuple[Shape, str]]) -> list[str]:
    """The groups of the names under the reason that they share."""
    reasons = sorted({why for _, why in group.values()})
    return [f"{', '.join(_groups(n for n, (_, w) in group.items() if w == why))}: {why}" for why in reasons]


def _shorten(items: Sequence[str], between: str) -> str:
    more = f"{between}and {len(items) - 2 * SHOWN} more" if len(items) > 2 * SHOWN else ""
    return between.join(items[: 2 * SHOWN]) + more


def _sizes(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "1"
