"""Time of a run by activity, its goodput, and the clips that were skipped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmvideo.evaluation.report.parts.markup import duration, number, percent, table, tag, text

_ABOUT = {
    "init": "imports, devices, parameters, restoring a checkpoint",
    "compile": "compiling the step",
    "wait": "waiting for data",
    "step": "training steps",
    "checkpoint": "time that saving held up the run",
    "evaluation": "retrieval, probes and images",
    "other": "logging and the rest",
    "lost": "steps repeated because a run stopped before saving them",
    "down": "between the end of one run and the start of the next",
}
_BESIDE = ("lost", "down")
"""Names outside the time of the runs: `lost` is already counted in it, `down` lies between the runs."""

_SHOWN_SKIPS = 50


def account(lines: Sequence[dict[str, Any]]) -> str:
    """Return the seconds under each name of ledger.jsonl, as a bar and a table."""
    seconds = {name: sum(_seconds(line.get(name)) for line in lines) for name in _ABOUT}
    # Shares are of the time of the runs: `lost` and `down` have rows, but no part of the bar.
    spent = {name: value for name, value in seconds.items() if value > 0 and name not in _BESIDE}
    total = sum(spent.values())
    if not total:
        return ""
    pieces = [
        tag("span", style=f"flex-grow:{value / total:.4f}", class_=f"piece {name}", title=f"{name} {duration(value)}")
        for name, value in spent.items()
    ]
    rows = [
        [_key(name), text(_ABOUT[name]), duration(value), percent(value / total)]
        for name, value in sorted(spent.items(), key=lambda item: -item[1])
    ]
    for name in _BESIDE:
        if seconds[name]:
            rows.append([name, text(_ABOUT[name]), duration(seconds[name]), percent(seconds[name] / total)])
    return tag("div", *pieces, class_="stack") + table(["", "", "time", "%"], rows, numbers_from=2)


def _key(name: str) -> str:
    """Return a name with the colour of its part of the bar."""
    return tag("span", class_=f"key {name}") + text(name)


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def goodput(lines: Sequence[dict[str, Any]]) -> float | None:
    """Return the goodput of the run up to its last line, from 0 to 1; None if the ledger has none."""
    known = [line["goodput"] for line in lines if "goodput" in line]
    return known[-1] if known else None


def total_seconds(lines: Sequence[dict[str, Any]]) -> float:
    """Return the total time of a ledger in seconds."""
    return math.fsum(_seconds(line.get("wall")) for line in lines)


def skips(skipped: Sequence[tuple[str, str]]) -> str:
    """Return a table of the reasons by frequency, and a list of the clips."""
    reasons = Counter(reason for _, reason in skipped)
    counted = table(["clips", "reason"], [[number(n), text(reason)] for reason, n in reasons.most_common(10)], 9)
    rows = [[tag("code", text(clip)), text(reason)] for clip, reason in skipped[:_SHOWN_SKIPS]]
    more = f", the first {_SHOWN_SKIPS} of {len(skipped)}" if len(skipped) > _SHOWN_SKIPS else ""
    listed = tag("details", tag("summary", f"Clips{more}"), table(["clip", "reason"], rows, 9))
    return counted + listed
