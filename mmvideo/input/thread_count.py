"""How many threads prepare the rows of a run."""

from __future__ import annotations

from mmvideo.input.config import Input
from mmvideo.parallel.cores import usable_cores

MOST = 16
"""Threads that are chosen at most, as many as Grain takes; more must be asked for."""


def threads_of(config: Input) -> int:
    """Return the threads that the settings ask for, or else one for each core that this process may use."""
    return min(usable_cores(), MOST) if config.threads is None else config.threads
