"""Retention of checkpoints: the newest, those of every n-th step, and the best by an evaluation.

The result of an evaluation is known only after its step was saved. Until then that checkpoint is the newest, so it
stays. If it is the best, `checkpoints/best.json` then marks it, and later saves keep the marked one. The mark is
written after the checkpoint is complete, and is replaced atomically, so it never names an incomplete one.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies

from mmvideo.records.sealed import seal, unseal
from mmvideo.records.whole import write_whole

MARK = "best.json"


@dataclasses.dataclass(frozen=True)
class RetentionPolicy:
    """Rule for the checkpoints of a run that stay.

    Attributes:
      newest: number of newest checkpoints; None for all.
      every: interval of steps whose checkpoints are kept permanently; None for none.
      metric: evaluation metric whose best checkpoint is kept; None for none.
      mode: whether its highest (`max`) or its lowest value (`min`) is the best.
    """

    newest: int | None = None
    every: int | None = None
    metric: str | None = None
    mode: str = "max"


@dataclasses.dataclass(frozen=True)
class Best:
    """Best checkpoint so far.

    Attributes:
      step: its step.
      metric, mode: metric, and direction of comparison.
      value: the metric's value at that step.
    """

    step: int
    metric: str
    mode: str
    value: float


KEYS = tuple(field.name for field in dataclasses.fields(Best))


def preservation(retention: RetentionPolicy, best: Callable[[], int | None]) -> Any:
    """Return Orbax's policy for these settings; `best` returns the marked step."""
    chosen = [policies.LatestN(retention.newest), _Marked(best)]
    if retention.every is not None:
        chosen.append(policies.EveryNSteps(retention.every))
    return policies.AnyPreservationPolicy(chosen)


@dataclasses.dataclass(frozen=True)
class _Marked:
    """Policy that preserves the checkpoint marked as the best."""

    best: Callable[[], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Return one answer for each checkpoint."""
        return [checkpoint.step == self.best() for checkpoint in checkpoints]


def is_better(retention: RetentionPolicy, metrics: Mapping[str, float | None], best: Best | None) -> bool:
    """Return whether an evaluation beats the best so far; a missing or non-finite value never does.

    Raises:
      ValueError: the evaluation has no such metric.
    """
    value = metric_of(retention, metrics)
    if value is None or not math.isfinite(value):
        return False
    # A mark by another metric or direction is not comparable, so the new value replaces it.
    if best is None or (best.metric, best.mode) != (retention.metric, retention.mode):
        return True
    return value > best.value if retention.mode == "max" else value < best.value


def metric_of(retention: RetentionPolicy, metrics: Mapping[str, float | None]) -> float | None:
    """Return the metric that decides.

    Raises:
      ValueError: there is no metric of that name; the message has the most similar names.
    """
    name = retention.metric.removeprefix("eval/")
    if name not in metrics:
        near = difflib.get_close_matches(name, list(metrics), n=3, cutoff=0.3) or sorted(metrics)[:3]
        raise ValueError(
            f"training.best {retention.metric!r} is no metric of this run's evaluation, such as {', '.join(near)}; "
            "name one of evals/*.json as EVALUATION/METRIC, and run the same command to resume"
        )
    return metrics[name]


def read_best(folder: Path) -> Best | None:
    """Return the mark in a folder of checkpoints; None if there is none, or its checkpoint is gone."""
    try:
        found = Best(**unseal((folder / MARK).read_bytes(), str(folder / MARK), KEYS))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ValueError(f"{folder / MARK} is damaged; delete it: the next evaluation marks the best anew") from None
    return found if (folder / str(found.step)).is_dir() else None


def write_best(folder: Path, best: Best) -> None:
    """Write the mark, completely or not at all."""
    write_whole(folder / MARK, json.dumps(seal(dataclasses.asdict(best))) + "\n")
