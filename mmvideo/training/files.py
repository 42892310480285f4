"""Small files of a workdir, replaced whole; and whether a workdir belongs to these settings."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

MAY_DIFFER = (
    *(f"training.{name}" for name in ("log_every", "save_every", "keep", "evaluate_every", "patience", "tensorboard")),
    "training.hang_seconds",
    "training.spike.*",
    *(f"training.{name}" for name in ("keep_every", "best", "best_mode")),
    *(f"model.{name}" for name in ("scan", "remat", "remat_keep*", "remat_offload*", "attention", "chunk")),
    "input.threads",
    "input.prefetch",
    "input.keep",
    "mesh.*",
    "evaluation.*",
)
"""Settings that don't change what is learned: a run may be resumed with others (patterns of dotted names).

Layers have the same parameters however they are computed, scanned or unrolled, by whichever kernel; that and the
mesh change sums in their last bits.
"""


class WorkdirError(ValueError):
    """A workdir belongs to a run with other settings: which differ, and what to do."""


def write_whole(path: Path, text: str) -> None:
    """Writes a text file under another name and renames it, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a last line that a killed process left half-written is left out."""
    if not path.is_file():
        return []
    objects = []
    # Text may hold other line separators, such as U+2028, which `splitlines` takes for the end of a line.
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            objects.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [item for item in objects if isinstance(item, dict)]


def write_lines(path: Path, objects: Iterable[dict[str, Any]]) -> None:
    """Replaces a JSONL file as a whole."""
    write_whole(path, "".join(json.dumps(item) + "\n" for item in objects))


def claim(workdir: Path, config_json: str, may_differ: Sequence[str] = MAY_DIFFER) -> bool:
    """Makes the workdir this run's: writes config.json, or compares it with the one that is there.

    `training.steps` may be raised, and the settings of `may_differ` may change; config.json then tells
    the new ones.

    Args:
      workdir: made if need be.
      config_json: the resolved settings as one JSON object.
      may_differ: patterns of dotted names.

    Returns:
      Whether the workdir was free.

    Raises:
      WorkdirError: another setting differs, or config.json there can't be read.
    """
    path = workdir / "config.json"
    new = not path.is_file()
    if not new:
        try:
            there = _flat(json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise WorkdirError(f"{path} is not JSON ({error}); take another workdir, or delete this one") from None
        wrong = _differences(there, _flat(json.loads(config_json)), may_differ)
        if wrong:
            raise WorkdirError(
                f"{workdir} holds a run with other settings: {'; '.join(wrong)}. "
                "Give the same settings to resume it, or another workdir to start anew"
            )
    if jax.process_index() == 0:
        write_whole(path, config_json)
    return new


@contextlib.contextmanager
def release_on_error(workdir: Path, new: bool) -> Iterator[None]:
    """Gives a workdir that was free up again if what is done within fails: nothing was begun in it."""
    try:
        yield
    except ValueError:
        if new and jax.process_index() == 0:
            (workdir / "config.json").unlink(missing_ok=True)
        raise


def _differences(there: dict[str, Any], here: dict[str, Any], may_differ: Sequence[str]) -> list[str]:
    """`field (there → here)` for every setting that stands in the way of a resume.

    One that is null here and absent there came after that run, which was without it.
    """
    wrong = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, "absent"), here.get(name, "absent")
        raised = name == "training.steps" and isinstance(old, int) and isinstance(new, int) and new >= old
        came_later = old == "absent" and new is None
        allowed = raised or came_later or any(fnmatch.fnmatchcase(name, pattern) for pattern in may_differ)
        if old != new and not allowed:
            wrong.append(f"{name} ({json.dumps(old)} there, {json.dumps(new)} here)")
    return wrong


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of nested objects and lists by its dotted name; an empty one counts as a leaf."""
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in pairs for k, v in _flat(item, f"{name}.{key}" if name else str(key)).items()}
    return {name: value}
