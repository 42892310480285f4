r"""Files with one JSON object a line, each with a checksum; damaged lines are left out, counted and reported.

A line ends in `"crc": "1c291ca3"}`, the CRC-32 of the object without it. In the line `{"step": 3, "crc": "…"}` it is
the checksum of `{"step": 3}`. Older files without checksums are read unchecked.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmvideo.records.whole import write_whole

_SUMMED = re.compile(rb'(\{.*?)(?:, )?"crc": "([0-9a-f]{8})"\}', re.DOTALL)

_NEARLY = re.compile(rb'.*"[^"]{3}": "[^"]{8}"\}', re.DOTALL)
"""A line in which the checksum, or its name, is damaged."""

_TOLD: set[tuple[str, int, tuple[int, ...]]] = set()
"""Files, modification times and damaged lines that this process has already reported."""


@dataclasses.dataclass(frozen=True)
class Lines:
    """Content of a file.

    Attributes:
      objects: objects of the intact lines.
      damaged: numbers of the damaged lines, from 1.
      raw: bytes of the damaged lines.
      whole: total number of lines.
      torn: whether the file ends within a line, as after a kill.
    """

    objects: list[dict[str, Any]]
    damaged: list[int]
    raw: list[bytes]
    whole: int
    torn: bool


def line_of(item: Mapping[str, Any]) -> str:
    """Return an object as a line with its checksum."""
    text = json.dumps(item)
    comma = ", " if item else ""
    return f'{text[:-1]}{comma}"crc": "{zlib.crc32(text.encode()):08x}"}}\n'


def read_lines(path: Path, needs: Mapping[str, type | tuple[type, ...]] | None = None) -> list[dict[str, Any]]:
    """Return the objects of a file; none if it does not exist. Damaged lines are left out, and reported on stderr once.

    Args:
      path: the file.
      needs: required fields of an object, with their types; an object without them counts as damaged.
    """
    found = scan(path, needs)
    if found.damaged:
        tell(path, found)
    return found.objects


def scan(path: Path, needs: Mapping[str, type | tuple[type, ...]] | None = None) -> Lines:
    """Read a file, with its damaged lines apart."""
    data = path.read_bytes() if path.is_file() else b""
    lines = data.split(b"\n")
    torn = bool(lines[-1])
    if not torn:
        lines.pop()
    objects, damaged, summed = [], [], False
    for number, line in enumerate(lines, 1):
        # In a file with checksums even an empty line is damage.
        if not line.strip() and not summed:
            continue
        item, has_sum = _parsed(line, summed)
        summed = summed or has_sum
        if item is None or not all(_is(item.get(name), kind) for name, kind in (needs or {}).items()):
            damaged.append(number)
        else:
            objects.append(item)
    return Lines(objects, damaged, [lines[number - 1] for number in damaged], len(lines), torn)


def tell(path: Path, found: Lines) -> None:
    """Report the damaged lines of a file on stderr, unless this process has done so."""
    key = str(path), path.stat().st_mtime_ns, tuple(found.damaged)
    if key in _TOLD:
        return
    _TOLD.add(key)
    if found.torn and found.damaged == [found.whole]:
        said = f"line {found.whole}, the last, is half-written, as a kill leaves it, and is left out"
    else:
        named = ", ".join(map(str, found.damaged[:5])) + (" …" if len(found.damaged) > 5 else "")
        said = f"{len(found.damaged)} of {found.whole} lines are damaged and left out (line {named})"
    print(f"mmvideo: {path}: {said}", file=sys.stderr)


def write_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file atomically."""
    write_whole(path, "".join(line_of(item) for item in objects))


def append_line(path: Path, item: Mapping[str, Any]) -> None:
    """Append a line; an incomplete line before it is ended first, so that both stay apart."""
    with path.open("ab+") as file:
        end = file.seek(0, 2)
        if end:
            file.seek(end - 1)
            # A kill may have cut the last line: end it, so that the new one starts on its own.
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line_of(item).encode())


def _parsed(line: bytes, summed: bool) -> tuple[dict[str, Any] | None, bool]:
    """Return the object of a line, None if it is damaged, and whether it has a checksum.

    Args:
      line: the line without its end.
      summed: whether an earlier line has a checksum, so that this one needs one.
    """
    # `{"step": 3, "crc": "…"}`: group 1 is `{"step": 3`, to which the closing brace is added.
    found = _SUMMED.fullmatch(line)
    if found is not None:
        text = found[1] + b"}"
        if zlib.crc32(text) != int(found[2], 16):
            return None, True
        return json.loads(text), True
    if summed or _NEARLY.fullmatch(line):
        return None, False
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):  # Bytes that are no UTF-8 are a ValueError, too.
        return None, False
    return (item if isinstance(item, dict) else None), False


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
