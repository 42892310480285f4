r"""Text that UTF-8 cannot encode: lone surrogates, which stand for no character.

JSON can contain one (`"\ud83d"` without its other half), and Python makes them from the bytes of a file name that is
not UTF-8 (`caf\xe9.mp4` in Latin-1 becomes `caf\udce9.mp4`). No file of a corpus can hold them.
"""

from __future__ import annotations

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF
"""Surrogates that Python makes from bytes."""


def spelled_out(text: str) -> str:
    r"""Return the text with its lone surrogates escaped: a byte of a file name as `\xe9`, any other as `\ud83d`."""
    return _SURROGATE.sub(_spell, text)


def find_unpaired(value: Any, name: str = "") -> tuple[str, str] | None:
    r"""Return the first lone surrogate among JSON values, as the dotted name of its text and its escaped form.

    `{"labels": {"verb": "x\ud83d"}}` gives `("labels.verb", "\\ud83d")`.
    """
    if isinstance(value, str):
        found = _SURROGATE.search(value)
        return (name, _spell(found)) if found else None
    if isinstance(value, dict):
        parts = [(f"{name}.{spelled_out(key)}".strip("."), part) for key, item in value.items() for part in (key, item)]
    elif isinstance(value, list):
        parts = [(name, item) for item in value]
    else:
        return None
    return next((found for place, part in parts if (found := find_unpaired(part, place))), None)


def _spell(found: re.Match[str]) -> str:
    number = ord(found[0])
    # U+DCE9 is the byte 0xE9 of a file name.
    return f"\\x{number - 0xDC00:02x}" if _FIRST_BYTE <= number <= _LAST_BYTE else f"\\u{number:04x}"
