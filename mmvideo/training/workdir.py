"""Check that a workdir belongs to the given settings."""

from __future__ import annotations

import contextlib
import fnmatch
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from mmvideo.records.whole import write_whole

RESUMABLE_FIELDS = (
    *(f"training.{name}" for name in ("log_every", "save_every", "keep", "evaluate_every", "patience", "tensorboard")),
    "training.hang_seconds",
    "training.spike.*",
    *(f"training.{name}" for name in ("keep_every", "best", "best_mode")),
    *(f"model.{name}" for name in ("scan", "remat", "remat_keep*", "remat_offload*", "attention", "chunk")),
    "input.threads",
    "input.prefetch",
    "input.keep",
    "input.memory",
    "mesh.*",
    "evaluation.*",
)
"""Settings that may change when a run is resumed, because they do not affect what is learned (patterns of dotted
names).

Layers have the same parameters however they are computed: scanned or unrolled, with any kernel. Kernels and the mesh
change sums only in their last bits.
"""

PATHS = ("input.sources.*.path", "input.text.tokenizer")
"""Settings with paths of files whose digest or content is in the checkpoint; the files may have moved."""


class WorkdirError(ValueError):
    """A workdir belongs to a run with other settings; the message lists them and the remedy."""


def create_or_validate_workdir(workdir: Path, config_json: str, may_differ: Sequence[str] = RESUMABLE_FIELDS) -> bool:
    """Claim the workdir for this run: write config.json, or compare it with the existing one.

    `training.steps` may be raised, and the settings of `may_differ` may change; config.json is then updated.

    Args:
      workdir: folder, created if missing.
      config_json: the resolved settings as one JSON object.
      may_differ: patterns of dotted names.

    Returns:
      Whether the workdir was free.

    Raises:
      WorkdirError: another setting differs, or the existing config.json cannot be read.
    """
    new = check_settings(workdir, config_json, may_differ)
    if jax.process_index() == 0:
        write_whole(workdir / "config.json", config_json)
    return new


def check_settings(workdir: Path, config_json: str, may_differ: Sequence[str] = RESUMABLE_FIELDS) -> bool:
    """Compare the settings with those of the workdir.

    Arguments, result and errors are those of `create_or_validate_workdir`.
    """
    path = workdir / "config.json"
    if not path.is_file():
        return True
    try:
        there = json.loads(path.read_bytes())
    except ValueError as error:
        raise WorkdirError(
            f"{path} is not JSON ({error}); put back the copy in checkpoints/STEP/record there, take another workdir, "
            "or delete this one"
        ) from None
    wrong = differences(there, json.loads(config_json), may_differ)
    if wrong:
        raise WorkdirError(
            f"{workdir} holds a run with other settings: {'; '.join(wrong)}. "
            "Give the same settings to resume it, or another workdir to start anew"
        )
    return False


@contextlib.contextmanager
def release_on_error(workdir: Path, new: bool) -> Iterator[None]:
    """Release a workdir that was free if the block fails, because nothing was begun in it."""
    try:
        yield
    except ValueError:
        if new and jax.process_index() == 0:
            (workdir / "config.json").unlink(missing_ok=True)
        raise


def differences(there: Any, here: Any, may_differ: Sequence[str] = ()) -> list[str]:
    """Return `field (… there, … here)` for every value that differs between two nests of objects and lists.

    A value that is null here and absent there does not count: its setting is newer than that run, which did without it.

    Args:
      there, here: plain JSON values.
      may_differ: patterns of dotted names that are left out; if there are any, `training.steps` may be raised.
    """
    there, here = _flat(there), _flat(here)
    wrong = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, "absent"), here.get(name, "absent")
        numbers = isinstance(old, int) and isinstance(new, int)
        # A run of 1000 steps may be continued to 2000, but not shortened to 500.
        raised = bool(may_differ) and name == "training.steps" and numbers and new >= old
        # A setting added since that run, at None, behaves as the run without it.
        came_later = old == "absent" and new is None
        allowed = raised or came_later or any(fnmatch.fnmatchcase(name, pattern) for pattern in may_differ)
        if old != new and not allowed:
            wrong.append(f"{name} ({json.dumps(old)} there, {json.dumps(new)} here)")
    return wrong


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return every leaf of nested objects and lists by its dotted name; an empty one counts as a leaf."""
    # {"a": [1, {"b": 2}], "c": {}} becomes {"a.0": 1, "a.1.b": 2, "c": {}}.
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in pairs for k, v in _flat(item, f"{name}.{key}" if name else str(key)).items()}
    return {name: value}
