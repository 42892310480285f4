"""The commit of the code, and when a file of it was last changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of the code, with a `+` where files were changed; empty outside a checkout."""
    here = _git("rev-parse", "--short=10", "HEAD")
    return here + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "") if here else ""


def last_change(path: str, commit: str) -> str:
    """`2026-11-26 17:18 UTC (886eba2d21)`: when a file last changed before a run, and in which commit.

    Args:
      path: of the file, from the root of the checkout.
      commit: of the run, as `commit` tells it; with files changed since, it is not known when.

    Returns:
      Empty where it isn't known, as outside the checkout.
    """
    if not commit or commit.endswith("+"):
        return ""
    date = ("--date=format-local:%Y-%m-%d %H:%M UTC", "--format=%cd (%h)", "--abbrev=10")
    return _git("log", "-1", *date, commit, "--", f":/{path}")


def _git(*words: str) -> str:
    """What git says; empty where it says nothing, or isn't there."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"TZ": "UTC"}
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
