"""Processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File with a container's share of the processors: `200000 100000` is two cores, `max 100000` is all of them."""


def usable_cores(quota: Path = QUOTA) -> int:
    """Return the number of cores that this process may use: its bound cores, limited by its container's quota.

    A job of a cluster, or a cell of an ablation, is often bound to some cores of the machine. A container often sees
    all cores but has the time of a few.

    Args:
      quota: file of control groups, version 2; if it is missing or has no limit, all bound cores count.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        # Rounded up: 50000 of 100000 is half a core, enough for one thread; 150000 is enough for two.
        return max(1, min(bound, -(-int(allowed) // int(period))))
    except (OSError, ValueError):
        return bound
