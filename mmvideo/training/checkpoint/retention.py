"""Which checkpoints stay: the newest, every so many steps one for good, and the one that measured best.

What an evaluation finds is known only after its step was saved. Until then that checkpoint is the newest, and
so it stays; then `checkpoints/best.json` marks it if it is the best, and the next save leaves the marked one
alone. The mark is written when the checkpoint is whole, and replaced as a whole: it never names half of one.
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
    """What is kept of a run's checkpoints.

    Attributes:
      newest: how many of the newest; None: all.
      every: checkpoints of steps that this divides are kept for good; None: none are.
      metric: the evaluation metric whose best checkpoint is kept; None: none is.
      mode: whether its highest (`max`) or its lowest value (`min`) is the best.
    """

    newest: int | None = None
    every: int | None = None
    metric: str | None = None
    mode: str = "max"


@dataclasses.dataclass(frozen=True)
class Best:
    """The checkpoint that measured best so far.

    Attributes:
      step: which one.
      metric, mode: by what.
      value: the metric's value there.
    """

    step: int
    metric: str
    mode: str
    value: float


KEYS = tuple(field.name for field in dataclasses.fields(Best))


def preservation(retention: RetentionPolicy, best: Callable[[], int | None]) -> Any:
    """Orbax's policy for these settings; `best` tells the marked step."""
    chosen = [policies.LatestN(retention.newest), _Marked(best)]
    if retention.every is not None:
        chosen.append(policies.EveryNSteps(retention.every))
    return policies.AnyPreservationPolicy(chosen)


@dataclasses.dataclass(frozen=True)
class _Marked:
    """Preserves the one checkpoint of the step that is marked as the best."""

    best: Callable[[], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer for each checkpoint."""
        return [checkpoint.step == self.best() for checkpoint in checkpoints]


def is_better(retention: RetentionPolicy, metrics: Mapping[str, float | None], best: Best | None) -> bool:
    """Whether an evaluation found more than the best so far; a value that is missing or not finite is no candidate.

    Raises:
      ValueError: the evaluation has no such metric.
    """
    value = metric_of(retention, metrics)
    if value is None or not math.isfinite(value):
        return False
    if best is None or (best.metric, best.mode) != (retention.metric, retention.mode):
        return True
    return value > best.value if retention.mode == "max" else value < best.value


def metric_of(retention: RetentionPolicy, metrics: Mapping[str, float | None]) -> float | None:
    """The metric that decides.

    Raises:
      ValueError: there is none of that name, with the nearest names that there are.
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
    """The mark in a folder of checkpoints; None where there is none, or its checkpoint is gone."""
    try:
        found = Best(**unseal((folder / MARK).read_bytes(), str(folder / MARK), KEYS))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ValueError(f"{folder / MARK} is damaged; delete it: the next evaluation marks the best anew") from None
    return found if (folder / str(found.step)).is_dir() else None


def write_best(folder: Path, best: Best) -> None:
    """Writes the mark, whole or not at all."""
    write_whole(folder / MARK, json.dumps(seal(dataclasses.asdict(best))) + "\n")
