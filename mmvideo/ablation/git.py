"""The commit of the code, and the last change of a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def commit() -> str:
    """Return the commit of the code, with a `+` where files were changed; empty outside a checkout."""
    here = _git("rev-parse", "--short=10", "HEAD")
    return here + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "") if here else ""


def last_change(path: str, commit: str) -> str:
    """Return the last change of a file before a run, such as `2026-11-26 17:18 UTC (886eba2d21)`.

    Args:
      path: the file, relative to the root of the checkout.
      commit: the run's commit, as `commit` returns it; with uncommitted changes the time is unknown.

    Returns:
      The time and the commit; empty where they are unknown, for example outside the checkout.
    """
    if not commit or commit.endswith("+"):
        return ""
    date = ("--date=format-local:%Y-%m-%d %H:%M UTC", "--format=%cd (%h)", "--abbrev=10")
    return _git("log", "-1", *date, commit, "--", f":/{path}")


def _git(*words: str) -> str:
    """Return the output of git; empty where git fails or is not installed."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"TZ": "UTC"}
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
