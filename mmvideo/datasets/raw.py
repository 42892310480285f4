"""The rows of a manifest as they are written: JSON lines or CSV to values, nothing checked but the writing itself."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmvideo.datasets.annotations import Wrong, object_of

_JSON_CELLS = ("captions", "labels", "tags", "attributes", "moments", "saliency", "events")
_LABEL_COLUMN = re.compile(r"(label|labels|number)\.(.+)")


class ManifestError(ValueError):
    """A manifest is wrong: which file and line, what is wrong there and what to write instead."""


def raw_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Wrong]]:
    """Line number and values of each row; an undecodable line comes as what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: isn't UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if path.suffix == ".csv":
        yield from _csv_rows(path, text)
        return
    for line, words in enumerate(text.split("\n"), 1):
        if words.strip():
            try:
                values = json.loads(words)
            except json.JSONDecodeError as error:
                values = Wrong(f"isn't JSON ({error.msg}, column {error.colno}); write one object a line")
            yield line, values


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | Wrong]]:
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        missing = [name for name in ("id", "media") if name not in (reader.fieldnames or ())]
        if missing and reader.fieldnames:
            raise ManifestError(
                f"{path}:1: no column '{missing[0]}' (the columns are {', '.join(reader.fieldnames)}); "
                "the first line must name the columns"
            )
        for values in reader:
            line = reader.line_num
            if None in values or None in values.values():
                yield line, Wrong("has not as many cells as the first line has columns; quote cells with commas")
                continue
            try:
                cells = {name: _cell(name, cell.strip()) for name, cell in values.items() if cell.strip()}
                yield line, _with_label_columns(cells)
            except Wrong as error:
                yield line, error
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: isn't CSV ({error})") from None


def _cell(name: str, cell: str) -> Any:
    """The value of a CSV cell."""
    if name in _JSON_CELLS and cell[0] in "[{":
        try:
            return json.loads(cell)
        except json.JSONDecodeError as error:
            raise Wrong(f"'{name}' isn't JSON ({error.msg})") from None
    if name == "captions":
        return [cell]
    if name == "tags":
        return [tag.strip() for tag in cell.split(";") if tag.strip()]
    if name in ("start", "end"):
        try:
            return float(cell)
        except ValueError:
            raise Wrong(f"'{name}' must be a number of seconds, not '{cell}'") from None
    return cell


def _with_label_columns(cells: dict[str, Any]) -> dict[str, Any]:
    """The cells of a CSV row, those of `label.KIND`, `labels.KIND` and `number.KIND` gathered as `labels`."""
    columns = [match for name in cells if (match := _LABEL_COLUMN.fullmatch(name))]
    if not columns:
        return cells
    labels = dict(object_of(cells, "labels"))
    for match in columns:
        sort, kind = match.groups()
        if kind in labels:
            raise Wrong(f"label '{kind}' has two columns; give one of them")
        cell = cells[match[0]]
        if sort == "labels":
            labels[kind] = [name.strip() for name in cell.split("|") if name.strip()]
        elif sort == "number":
            try:
                labels[kind] = float(cell)
            except ValueError:
                raise Wrong(f"'{match[0]}' must be a number, not '{cell}'") from None
        else:
            labels[kind] = cell
    rest = {name: cell for name, cell in cells.items() if not _LABEL_COLUMN.fullmatch(name)}
    return rest | {"labels": labels}
