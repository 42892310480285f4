"""Reader of the raw rows of a manifest: JSON lines or CSV to values, with only the syntax checked."""

from __future__ import annotations

import collections
import csv
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmvideo.datasets.manifests.annotations import AnnotationError, object_of

_JSON_CELLS = ("captions", "labels", "tags", "attributes", "moments", "saliency", "events")
MISSING = ("nan", "<na>", "nat")
"""Texts of missing cells written by table programs such as pandas."""

_LOG = logging.getLogger(__name__)
_LABEL_COLUMN = re.compile(r"(label|labels|number)\.(.+)")


class ManifestError(ValueError):
    """A manifest is wrong; the message has file, line, error and correction."""


def raw_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | AnnotationError]]:
    """Yield the line number and values of each row; an undecodable line yields its error."""
    text = _read(path)
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
        return
    for line, words in enumerate(text.split("\n"), 1):
        if words.strip():
            yield line, _json_row(words)


def _read(path: Path) -> str:
    """Return the text of a file, with its line ends unchanged.

    Raises:
      ManifestError: the file is not UTF-8.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if path.suffix.lower() not in (".csv", ".json", ".jsonl", ".txt"):
            raise ManifestError(f"{path}: is no manifest; give the folder of the clips, or its manifest") from None
        place, line = error.start, content.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}:{line}: isn't UTF-8 text (byte 0x{content[place]:02x} at {place}); save the file as UTF-8"
        ) from None


def _json_row(words: str) -> Any | AnnotationError:
    try:
        return json.loads(words, object_pairs_hook=without_twins)
    except json.JSONDecodeError as error:
        return AnnotationError(f"isn't JSON ({error.msg}, column {error.colno}); write one object a line")
    except AnnotationError as error:
        return error
    # Whole numbers of thousands of digits, and lists in lists in lists.
    except (ValueError, RecursionError) as error:
        return AnnotationError(f"isn't JSON that can be read ({error}); write one object a line")


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object without duplicate names, of which the parser would keep only the last value.

    Raises:
      AnnotationError: a name occurs twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        twin = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise AnnotationError(f"has two values of '{twin}'; give one of them")
    return values


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | AnnotationError]]:
    # A reader of the file's own lines would end them at separators that mean nothing in CSV, such as U+2028.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    missing: collections.Counter[str] = collections.Counter()
    try:
        names = _columns(path, next(reader, []))
        for cells in reader:
            if not cells:
                continue
            try:
                yield reader.line_num, _csv_row(names, cells, missing)
            except AnnotationError as error:
                yield reader.line_num, error
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: isn't CSV ({error})") from None
    if missing:
        told = ", ".join(f"{count} of '{name}'" for name, count in missing.items())
        _LOG.warning("%s: cells that say nan are taken as missing: %s", path, told)


def _columns(path: Path, cells: list[str]) -> list[str]:
    """Return the names of the columns.

    Raises:
      ManifestError: a required column is missing, or two have the same name.
    """
    names = [cell.strip() for cell in cells]
    twins = [(name, place) for place, name in enumerate(names) if name and name in names[:place]]
    if twins:
        name, place = twins[0]
        raise ManifestError(
            f"{path}:1: columns {names.index(name) + 1} and {place + 1} are both called '{name}'; "
            "rename or remove one of them"
        )
    missing = [name for name in ("id", "media") if name not in names]
    if missing and any(names):
        raise ManifestError(
            f"{path}:1: no column '{missing[0]}' (the columns are {', '.join(names)}); "
            "the first line must name the columns"
        )
    return names


def _csv_row(names: list[str], cells: list[str], missing: collections.Counter[str]) -> dict[str, Any]:
    """Return the values of a row, and count the cells that are marked as missing.

    Raises:
      AnnotationError: it has other columns than the first line, or a cell cannot be read.
    """
    if len(cells) != len(names):
        raise AnnotationError("has not as many cells as the first line has columns; quote cells with commas")
    values = {}
    for place, (name, cell) in enumerate(zip(names, map(str.strip, cells), strict=True), 1):
        if cell and not name:
            raise AnnotationError(f"has a cell in column {place}, which has no name on the first line")
        if cell.lower() in MISSING:
            missing[name] += 1
        elif cell:
            values[name] = _cell(name, cell)
    return _with_label_columns(values)


def _cell(name: str, cell: str) -> Any:
    """Return the value of a CSV cell."""
    # Otherwise a plain cell: the caption "a dog runs" needs no JSON quotes.
    if name in _JSON_CELLS and cell[0] in "[{":
        try:
            return json.loads(cell, object_pairs_hook=without_twins)
        except json.JSONDecodeError as error:
            raise AnnotationError(f"'{name}' isn't JSON ({error.msg})") from None
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"'{name}' can't be read ({error})") from None
    if name == "captions":
        return [cell]
    if name == "tags":
        return [tag.strip() for tag in cell.split(";") if tag.strip()]
    if name in ("start", "end"):
        try:
            return float(cell)
        except ValueError:
            raise AnnotationError(f"'{name}' must be a number of seconds, not '{cell}'") from None
    return cell


def _with_label_columns(cells: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of a CSV row, with those of `label.KIND`, `labels.KIND` and `number.KIND` combined as
    `labels`."""
    columns = [match for name in cells if (match := _LABEL_COLUMN.fullmatch(name))]
    if not columns:
        return cells
    # {"label.verb": "runs", "labels.sounds": "dog|bark"} becomes {"labels": {"verb": "runs", "sounds": ["dog",
    # "bark"]}}.
    labels = dict(object_of(cells, "labels"))
    for match in columns:
        sort, kind = match.groups()
        if kind in labels:
            raise AnnotationError(f"label '{kind}' has two columns; give one of them")
        cell = cells[match[0]]
        if sort == "labels":
            labels[kind] = [name.strip() for name in cell.split("|") if name.strip()]
        elif sort == "number":
            try:
                labels[kind] = float(cell)
            except ValueError:
                raise AnnotationError(f"'{match[0]}' must be a number, not '{cell}'") from None
        else:
            labels[kind] = cell
    rest = {name: cell for name, cell in cells.items() if not _LABEL_COLUMN.fullmatch(name)}
    return rest | {"labels": labels}
