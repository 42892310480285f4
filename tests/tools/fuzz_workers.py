"""Workers that do what the fuzzer must find; in a file of their own, which a spawned process imports quickly."""

from __future__ import annotations

import os
import time


def crash(tasks, results):
    """Die of the first file."""
    tasks.get()
    os.abort()


def hang(tasks, results):
    """Never come back."""
    tasks.get()
    time.sleep(60)


def raw(tasks, results):
    """Let a library's error out, and take too much memory."""
    while (task := tasks.get()) is not None:
        results.put((task, {"probe": "fine", "decode": "MemoryError: "}, 2 << 30))
