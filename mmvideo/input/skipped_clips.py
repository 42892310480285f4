"""List of the clips that a run skipped, with reasons."""

from __future__ import annotations

import threading


class SkippedClips:
    """Clips and their errors, written by many threads.

    A clip is listed once, with its first reason, however often it is read.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, clip: str, reason: str) -> None:
        """Add a clip."""
        with self._lock:
            self._reasons.setdefault(clip, reason)

    def list(self) -> list[tuple[str, str]]:
        """Return clip ids and reasons, in the order of addition."""
        with self._lock:
            return list(self._reasons.items())
