"""Processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where a container finds its share of the processors: `200000 100000` is two cores, `max 100000` all of them."""


def usable_cores(quota: Path = QUOTA) -> int:
    """Return how many cores this process may use: those it is bound to, at most as many as its container has.

    A job of a cluster, or a cell of an ablation, is often bound to a part of the machine; a container often sees all
    cores and is given the time of a few.

    Args:
      quota: the file of control groups, version 2; without one, or where it says nothing, all bound cores count.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        # Half a core is one thread's worth of work, a core and a half two threads'.
        return max(1, min(bound, -(-int(allowed) // int(period))))
    except (OSError, ValueError):
        return bound
