"""Number of threads that prepare the rows of a run."""

from __future__ import annotations

from mmvideo.input.config import Input
from mmvideo.parallel.cores import usable_cores

MOST = 16
"""Largest automatic number of threads, the most that Grain takes by default; a larger number must be set explicitly."""


def threads_of(config: Input) -> int:
    """Return the configured number of threads, or one for each core that this process may use."""
    return min(usable_cores(), MOST) if config.threads is None else config.threads
