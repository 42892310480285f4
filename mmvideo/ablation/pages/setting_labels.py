"""Settings as they stand in tables: short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LONGEST = 60
"""Characters of a value."""


def written(value: Any) -> str:
    """A value of a config, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def change_lines(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """A line a field, `model.fusion.layer: 2 → 3`; fields that a new part brought are told by the part alone."""
    lines = []
    for name, (base, here) in changed.items():
        lines.append(f"{name}: {written(here)}" if base is None else f"{name}: {written(base)} → {written(here)}")
    return lines
