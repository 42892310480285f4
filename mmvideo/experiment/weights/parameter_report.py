"""The report of a warm start: parameters loaded, resized, new and ignored, and unexpected differences."""

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
"""Name of the file in a workdir that records the origin of its initial parameters."""

SHOWN = 4
"""Half the number of groups, names or patterns on a line before `and … more`."""


@dataclasses.dataclass(frozen=True)
class ParamReport:
    """The parameters of the new model and of the checkpoint, each in one of four groups, and the unexplained ones.

    Attributes:
      source: the checkpoint, in words.
      loaded: shapes of unchanged parameters, by name.
      resized: old shape, new shape and method of adapted parameters, by name.
      fresh: shape and reason of newly initialized parameters, by name.
      ignored: shape and reason of unused parameters of the checkpoint, by name.
      surprises: unexplained differences: a line per kind, with advice.
    """

    source: str
    loaded: Mapping[str, Shape]
    resized: Mapping[str, tuple[Shape, Shape, str]]
    fresh: Mapping[str, tuple[Shape, str]]
    ignored: Mapping[str, tuple[Shape, str]]
    surprises: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the groups as lines, with the number of parameters and elements of each."""
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
            f"  {what:<8}{len(shapes):>4} parameters, {_count(shapes):>13,} elements: {detail}"
            for what, shapes, detail in rows
            if shapes
        ]
        return [f"first parameters from {self.source}", *found]

    def record(self) -> dict[str, Any]:
        """Return the groups as plain values for JSON."""
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
        """Write `init.json`, sealed with its digest."""
        write_whole(workdir / RECORD, json.dumps(seal(self.record()), indent=1) + "\n")


def patterns(names: Iterable[str], others: Iterable[str]) -> str:
    """Return a few name patterns for a setting, which match all of the names and none of the others."""
    names, others = sorted(names), list(others)
    # Twelve names of one head give one pattern.
    found = dict.fromkeys(_pattern(name, names, others) for name in names)
    return " ".join(f"'{pattern}'" for pattern in list(found)[: 2 * SHOWN]) + (" …" if len(found) > 2 * SHOWN else "")


def _pattern(name: str, names: Sequence[str], others: Sequence[str]) -> str:
    """Return the shortest prefix pattern that matches more than one name and no other; or the name itself."""
    # Names heads.ctc.bias and heads.ctc.kernel, other heads.text.kernel: "heads.ctc." is the first prefix without an
    # other, so the pattern is heads.ctc.*.
    parts = name.split(".")
    for count in range(2, len(parts)):
        start = ".".join(parts[:count]) + "."
        if not any(other.startswith(start) for other in others):
            return f"{start}*" if sum(each.startswith(start) for each in names) > 1 else name
    return name


def objective_of(name: str) -> str | None:
    """Return the objective of a head's parameter; None for a parameter of the backbone."""
    room, *rest = name.split(".")
    return rest[0] if room == "heads" else None


def modalities_of(name: str) -> set[str]:
    """Return the modalities in the name of a parameter; if one is absent, that explains the parameter's absence."""
    if name.startswith("trunk.space."):
        return {"video"}
    # trunk.tables.video_audio.kernel splits into trunk, tables, video, audio, kernel: {"video", "audio"}.
    return set(re.split(r"[.+_-]", name)) & {"video", "audio", "text"}


def _shapes(group: Mapping[str, tuple[Shape, str]]) -> dict[str, Shape]:
    """Return the shapes of a group."""
    return {name: shape for name, (shape, _) in group.items()}


def _records(group: Mapping[str, tuple[Shape, str]]) -> dict[str, Any]:
    """Return a group as plain values."""
    return {name: {"shape": list(shape), "why": why} for name, (shape, why) in sorted(group.items())}


def _count(shapes: Mapping[str, Shape]) -> int:
    """Return the number of elements of all shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def _groups(names: Iterable[str]) -> list[str]:
    """Return the first two parts of the names with the number of names, such as `trunk.blocks (12)`."""
    counts: dict[str, int] = {}
    for name in sorted(names):
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    return [f"{group} ({count})" for group, count in counts.items()]


def _reasons(group: Mapping[str, tuple[Shape, str]]) -> list[str]:
    """Return the groups of names under each shared reason."""
    reasons = sorted({why for _, why in group.values()})
    return [f"{', '.join(_groups(n for n, (_, w) in group.items() if w == why))}: {why}" for why in reasons]


def _shorten(items: Sequence[str], between: str) -> str:
    """Return the first items joined, with the number of further ones."""
    # Of 11 items 8 are shown, then "and 3 more".
    more = f"{between}and {len(items) - 2 * SHOWN} more" if len(items) > 2 * SHOWN else ""
    return between.join(items[: 2 * SHOWN]) + more


def _sizes(shape: Shape) -> str:
    """Return a shape such as `768×3072`; `1` for a scalar."""
    return "×".join(map(str, shape)) or "1"
