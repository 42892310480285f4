"""Compilation times of the training step on this machine, so that the next start can predict its own.

The file is in the folder of compiled programs (`mmvideo.parallel.compilation_cache`), and is deleted with it:
`{"programs": {KEY: {"seconds", "kept", "at"}}, "models": {KEY: {"seconds", "at"}}}`. Equal program keys mean equal
steps. `seconds` is the time of a compilation, `kept` that of a start that read the program from the folder, `at` the
day of the last one. A model key covers all steps of a model, whatever their batches and optimiser, because they take
about equally long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from mmvideo.records.whole import write_whole

FILE = "mmvideo_compile_seconds.json"
"""Name of the file in the folder of compiled programs."""

MOST = 200
"""Number of programs and of models in the file; the newest are kept."""

HIT, MISS = "/jax/compilation_cache/cache_hits", "/jax/compilation_cache/cache_misses"
"""JAX's events for a program that is read from the folder, and for one that is written to it."""


@dataclasses.dataclass(frozen=True)
class StepProgram:
    """Two keys of the compiled step of a run.

    Attributes:
      program: digest of everything that changes the program.
      model: digest of the model, its objectives and the devices only.
    """

    program: str
    model: str

    @classmethod
    def of(cls, model: Any, rest: Any) -> StepProgram:
        """Return the keys of a step.

        Args:
          model: settings of model and objectives, as plain values.
          rest: everything else that changes the program: shapes of state and batch, settings of the optimiser.
        """
        devices = jax.devices()
        place = [jax.__version__, devices[0].device_kind, len(devices), jax.process_count()]
        return cls(_digest([place, model, rest]), _digest([place, model]))


def programs_folder() -> Path | None:
    """Return the folder of this machine in which JAX keeps compiled programs; None if there is none."""
    folder = jax.config.jax_compilation_cache_dir
    if not jax.config.jax_enable_compilation_cache or not folder or "://" in folder:
        return None
    return Path(folder)


def expected(step: StepProgram, folder: Path | None) -> str:
    """Describe the expected compilation time of the step and its source; empty if nothing is known."""
    known = _read(folder)
    own, alike = known["programs"].get(step.program), known["models"].get(step.model)
    if own is not None and "kept" in own:
        return f"about {_seconds(own['kept'])}, as on {own['at']}: its program is kept"
    if own is not None:
        return f"at most about {_seconds(own['seconds'])}, as on {own['at']}: its program is kept"
    if alike is not None:
        return f"about {_seconds(alike['seconds'])}, as another step of this model took here on {alike['at']}"
    return ""


@contextlib.contextmanager
def timed(step: StepProgram, folder: Path | None) -> Iterator[None]:
    """Measure the block, in which the step is compiled, and record its time; a failure to write is ignored."""
    events: list[str] = []

    def listen(event: str, **_: Any) -> None:
        events.append(event)

    jax.monitoring.register_event_listener(listen)
    began = time.perf_counter()
    try:
        yield
    finally:
        jax.monitoring.unregister_event_listener(listen)
    if folder is not None:
        # A step may compile several programs: it counts as read from the folder only if none was compiled.
        with contextlib.suppress(OSError):
            _write(folder, step, time.perf_counter() - began, kept=HIT in events and MISS not in events)


def _read(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Read the file; return empty tables if it is missing or has another format."""
    none: dict[str, dict[str, Any]] = {"programs": {}, "models": {}}
    if folder is None:
        return none
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        # Conversions raise for values of another type, so a damaged file is ignored as a whole.
        for line in (*found["programs"].values(), *found["models"].values()):
            float(line["seconds"]), float(line.get("kept", 0.0)), str(line["at"])
        return {"programs": dict(found["programs"]), "models": dict(found["models"])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return none


def _write(folder: Path, step: StepProgram, seconds: float, kept: bool) -> None:
    known, day = _read(folder), time.strftime("%Y-%m-%d")
    own: Mapping[str, Any] = known["programs"].pop(step.program, {"seconds": seconds})
    known["programs"][step.program] = {**own, ("kept" if kept else "seconds"): round(seconds, 2), "at": day}
    if not kept:
        known["models"].pop(step.model, None)
        known["models"][step.model] = {"seconds": round(seconds, 2), "at": day}
    # Dictionaries keep insertion order: `pop` and insert move an entry to the end, so the last `MOST` are the newest.
    newest = {name: dict(list(lines.items())[-MOST:]) for name, lines in known.items()}
    write_whole(folder / FILE, json.dumps(newest, indent=1) + "\n")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "a second"
