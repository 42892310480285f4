"""Short labels of settings for tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LONGEST = 60
"""Characters of a value."""


def written(value: Any) -> str:
    """Return a config value as text, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def change_lines(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a line per field, `model.fusion.layer: 2 → 3`; a new group of settings is one line."""
    lines = []
    for name, (base, here) in changed.items():
        lines.append(f"{name}: {written(here)}" if base is None else f"{name}: {written(base)} → {written(here)}")
    return lines
