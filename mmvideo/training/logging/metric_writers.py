"""Writers of a run's metrics: metrics.jsonl always, TensorBoard events beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvideo.records.lines import line_of, scan, tell, write_lines

COUNTED = ("clips", "tokens", "slots", "skipped", "skipped_total", "bad_in_a_row", "spike", "spikes_total")
"""Metrics of a step that are not averaged."""


class MetricsWriter:
    """Writer of one JSON object a line; on a resume it first drops the lines of steps that will be repeated.

    Args:
      workdir: folder of `metrics.jsonl` and `tensorboard/`.
      step: step at which the run starts; later lines, and an incomplete one, are dropped.
      tensorboard: whether events are written too.
    """

    def __init__(self, workdir: Path, step: int, tensorboard: bool):
        self._path = workdir / "metrics.jsonl"
        # A run killed at step 950 that resumes at 800 drops the lines of 801 to 950, which it will write again.
        kept = [line for line in _undamaged(self._path) if line["step"] <= step]
        write_lines(self._path, kept)
        self._told = {(line.get("step"), name) for line in kept for name in line if name.startswith("eval/")}
        self.seconds_before: float = max((line.get("seconds", 0.0) for line in kept), default=0.0)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = _events(workdir / "tensorboard", step) if tensorboard else None

    def new_metrics(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metrics of an evaluation that no line has yet; a resumed run may have measured them before."""
        return {name: value for name, value in metrics.items() if (step, name) not in self._told}

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one line; a non-finite number becomes null, which is valid JSON."""
        self._file.write(line_of({name: _plain(value) for name, value in row.items()}))
        self._file.flush()
        if self._events is not None:
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                    self._events.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Flush and close the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def summarise(
    window: Sequence[Mapping[str, float]], seconds: float, utilisation: float | None = None
) -> dict[str, float]:
    """Return the metrics of one log line from those of the steps since the last one.

    Args:
      window: host metrics of each step, as in `make_step`; not empty.
      seconds: wall time of the steps.
      utilisation: model FLOPs of a real token over the peak FLOPs of all devices in a second; None if unknown.

    Returns:
      Means over the steps that were not skipped (over all steps if all were), rates a second, the share of empty token
      slots, and the number of steps skipped so far in the run, spikes apart; `mfu` if the utilisation is known.
    """
    good = [metrics for metrics in window if not was_skipped(metrics)] or window
    names = [name for name in window[0] if name not in COUNTED]
    means = {name: float(np.mean([metrics[name] for metrics in good])) for name in names}
    # The learning rate is that of the last step, not a mean.
    means["learning_rate"] = float(window[-1]["learning_rate"])
    clips, tokens, slots = (sum(metrics[name] for metrics in window) for name in ("clips", "tokens", "slots"))
    return means | {
        "examples_per_second": clips / seconds,
        "tokens_per_second": tokens / seconds,
        "seconds_per_step": seconds / len(window),
        "padding": 1.0 - tokens / slots,
        **({} if utilisation is None else {"mfu": utilisation * tokens / seconds}),
        "skipped_steps": int(window[-1]["skipped_total"]),
        **({"skipped_spikes": int(window[-1]["spikes_total"])} if "spikes_total" in window[-1] else {}),
    }


def was_skipped(metrics: Mapping[str, float]) -> bool:
    """Return whether a step changed nothing, because it was not finite or a spike."""
    return bool(metrics["skipped"] or metrics.get("spike"))


def _undamaged(path: Path) -> list[dict[str, Any]]:
    """Return the intact lines; report the damaged ones, and move them to `metrics.jsonl.damaged`."""
    found = scan(path, {"step": int})
    if found.damaged:
        tell(path, found)
        with path.with_name(f"{path.name}.damaged").open("ab") as file:
            file.write(b"".join(line + b"\n" for line in found.raw))
    return found.objects


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _events(folder: Path, step: int) -> Any:
    import tensorboardX

    return tensorboardX.SummaryWriter(str(folder), purge_step=step + 1)
