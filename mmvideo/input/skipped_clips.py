"""What went wrong with clips while a run read them: counted and listed, never in silence."""

from __future__ import annotations

import threading


class SkippedClips:
    """Clips and what was wrong with them, written by many threads.

    A clip is listed once, with the first reason, however often it comes round.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, clip: str, reason: str) -> None:
        """Notes a clip."""
        with self._lock:
            self._reasons.setdefault(clip, reason)

    def list(self) -> list[tuple[str, str]]:
        """Clip ids and reasons, in the order in which they were met."""
        with self._lock:
            return list(self._reasons.items())
