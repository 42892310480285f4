"""The plain way in: a manifest of clips, as JSON lines or CSV, read and checked before anything is built.

Columns: `id` and `media` (a path, relative to the manifest's folder) are needed. Optional are `start` and `end`
(seconds: the clip is that cut of the file), `caption` or `captions`, `label` (one class) or `labels` (a class for
each kind of label), `split` (`train` if not given), `tags` and `attributes` (any JSON object). Every other column is
kept among the attributes. A file `classes.json` beside the manifest (`{"label": ["cat", "dog"]}`) fixes the class
names and their numbers; without it they are the labels that occur, in order.

In CSV, `captions`, `tags`, `labels` and `attributes` hold JSON; a plain cell is one caption, or tags with `;` between.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

NAMES = ("manifest.jsonl", "manifest.csv")
"""What a manifest is called in a folder, in the order of preference."""

COLUMNS = (
    "id", "media", "start", "end", "caption", "captions", "label", "labels", "split", "tags", "attributes",
)  # fmt: skip
_JSON_CELLS = ("captions", "labels", "tags", "attributes")
_SHOWN = 4


class ManifestError(ValueError):
    """A manifest is wrong: which file and line, what is wrong there and what to write instead."""


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One clip as its manifest tells of it.

    Attributes:
      id: name of the clip, unique in its manifest.
      media: absolute path of the file.
      start, end: the cut of the file in seconds; None is the file's own start or end.
      captions: what the clip shows or sounds like, one text or several of the same meaning.
      labels: class name for each kind of label that is known.
      split: name of the split.
      tags: words for what is in the clip.
      attributes: everything else that the manifest says, as JSON values.
      line: line of the manifest, or 0 for a clip that was found without one.
    """

    id: str
    media: Path
    start: float | None = None
    end: float | None = None
    captions: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    split: str = "train"
    tags: tuple[str, ...] = ()
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    line: int = 0


class _Wrong(ValueError):
    """What is wrong with one row."""


def read_manifest(path: str | Path) -> list[ManifestRow]:
    """Reads and checks a manifest, or finds the clips of a folder that has none.

    Args:
      path: a `.jsonl` or `.csv` file, a folder that holds `manifest.jsonl` or `manifest.csv`, or a folder of clips
        (see `folder.find_clips`).

    Raises:
      ManifestError: the manifest can't be read, is empty, or rows of it are wrong; the message has the first few.
      FileNotFoundError: there is nothing at `path`.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            from mmvideo.datasets.folder import find_clips

            return find_clips(path)
        path = found[0]
    classes = read_classes(path.parent)
    rows, wrong, seen = [], [], {}
    for line, values in _raw_rows(path):
        try:
            row = _row(path.parent, line, values)
            if row.id in seen:
                raise _Wrong(f"id '{row.id}' is already used on line {seen[row.id]}; ids must differ")
            seen[row.id] = line
            _check_labels(row, classes)
            rows.append(row)
        except _Wrong as error:
            wrong.append((line, str(error)))
    if wrong:
        raise ManifestError(_summary(path, wrong))
    if not rows:
        raise ManifestError(f"{path}:1: the manifest is empty; write one row for each clip, with 'id' and 'media'")
    return rows


def read_classes(folder: Path) -> dict[str, list[str]]:
    """The class names that `classes.json` in a folder fixes; empty without such a file.

    Raises:
      ManifestError: the file isn't a JSON object of lists of different names.
    """
    path = Path(folder) / "classes.json"
    if not path.is_file():
        return {}
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ManifestError(f"{path}: isn't JSON ({error})") from None
    plain = isinstance(classes, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        for names in classes.values()
    )
    if not plain:
        raise ManifestError(f'{path}: must list different class names by kind, such as {{"label": ["cat", "dog"]}}')
    return classes


def class_names(rows: Iterable[ManifestRow], fixed: dict[str, list[str]]) -> dict[str, list[str]]:
    """Class names by kind of label: those of `classes.json`, or those that occur, sorted (numbers by value)."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for kind, name in row.labels.items():
            found.setdefault(kind, set()).add(name)

    def natural(name: str) -> list:
        return [(1, part) if i % 2 == 0 else (0, int(part)) for i, part in enumerate(re.split(r"(\d+)", name))]

    return {kind: list(fixed[kind]) if kind in fixed else sorted(found[kind], key=natural) for kind in sorted(found)}


def _raw_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | _Wrong]]:
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
                values = _Wrong(f"isn't JSON ({error.msg}, column {error.colno}); write one object a line")
            yield line, values


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | _Wrong]]:
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
                yield line, _Wrong("has not as many cells as the first line has columns; quote cells with commas")
                continue
            try:
                yield line, {name: _cell(name, cell.strip()) for name, cell in values.items() if cell.strip()}
            except _Wrong as error:
                yield line, error
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: isn't CSV ({error})") from None


def _cell(name: str, cell: str) -> Any:
    """The value of a CSV cell."""
    if name in _JSON_CELLS and cell[0] in "[{":
        try:
            return json.loads(cell)
        except json.JSONDecodeError as error:
            raise _Wrong(f"'{name}' isn't JSON ({error.msg})") from None
    if name == "captions":
        return [cell]
    if name == "tags":
        return [tag.strip() for tag in cell.split(";") if tag.strip()]
    if name in ("start", "end"):
        try:
            return float(cell)
        except ValueError:
            raise _Wrong(f"'{name}' must be a number of seconds, not '{cell}'") from None
    return cell


def _row(folder: Path, line: int, values: dict[str, Any] | _Wrong) -> ManifestRow:
    if isinstance(values, _Wrong):
        raise values
    if not isinstance(values, dict):
        raise _Wrong('isn\'t an object; write {"id": …, "media": …} on a line')
    values = {name: value for name, value in values.items() if value is not None}
    start, end = _cut(values)
    rest = {name: value for name, value in values.items() if name not in COLUMNS}
    return ManifestRow(
        id=_text(values, "id", "a name of its own"),
        media=_media(folder, _text(values, "media", "the clip's file, relative to the manifest")),
        start=start,
        end=end,
        captions=_captions(values),
        labels=_labels(values),
        split=_split(values),
        tags=_texts(values, "tags"),
        attributes={**rest, **_object(values, "attributes")},
        line=line,
    )


def _text(values: dict, name: str, meaning: str) -> str:
    if name not in values:
        raise _Wrong(f"no '{name}' ({meaning})")
    if not isinstance(values[name], str) or not values[name].strip():
        raise _Wrong(f"'{name}' must be a text ({meaning}), not {json.dumps(values[name])}")
    return values[name]


def _texts(values: dict, name: str) -> tuple[str, ...]:
    texts = values.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _Wrong(f"'{name}' must be a list of texts, not {json.dumps(texts)[:60]}")
    return tuple(texts)


def _object(values: dict, name: str) -> dict:
    value = values.get(name, {})
    if not isinstance(value, dict):
        raise _Wrong(f"'{name}' must be an object, not {json.dumps(value)[:60]}")
    return value


def _captions(values: dict) -> tuple[str, ...]:
    if isinstance(values.get("captions"), str):
        values = {**values, "captions": [values["captions"]]}
    one = (_text(values, "caption", "a sentence"),) if "caption" in values else ()
    return tuple(text.strip() for text in one + _texts(values, "captions") if text.strip())


def _labels(values: dict) -> dict[str, str]:
    labels = dict(_object(values, "labels"))
    if "label" in values:
        if labels.get("label", values["label"]) != values["label"]:
            raise _Wrong("'label' and 'labels' disagree; give one of them")
        labels["label"] = values["label"]
    for kind, name in labels.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", kind):
            raise _Wrong(f"'{kind}' can't be a kind of label; use letters, digits and _")
        if isinstance(name, bool) or not isinstance(name, (str, int, type(None))) or "\n" in str(name) or name == "":
            raise _Wrong(f"label '{kind}' must be one class name, not {json.dumps(name)[:60]}; for several use 'tags'")
    return {kind: str(name) for kind, name in labels.items() if name is not None}


def _check_labels(row: ManifestRow, classes: dict[str, list[str]]) -> None:
    for kind, name in row.labels.items():
        if kind in classes and name not in classes[kind]:
            near = difflib.get_close_matches(name, classes[kind], n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; add it there or correct the row"
            raise _Wrong(f"class '{name}' of label '{kind}' isn't in classes.json{hint}")


def _split(values: dict) -> str:
    split = values.get("split", "train")
    if not isinstance(split, str) or not re.fullmatch(r"[A-Za-z]\w*", split, re.ASCII) or split == "all":
        raise _Wrong(f"'split' must be a word such as train or test, not {json.dumps(split)} ('all' is taken)")
    return split


def _cut(values: dict) -> tuple[float | None, float | None]:
    for name in ("start", "end"):
        value = values.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise _Wrong(f"'{name}' must be a number of seconds from 0, not {json.dumps(value)}")
    start, end = values.get("start"), values.get("end")
    if end is not None and end <= (start or 0):
        raise _Wrong(f"'end' ({end:g}) must be greater than 'start' ({start or 0:g})")
    return (None if start is None else float(start)), (None if end is None else float(end))


def _media(folder: Path, name: str) -> Path:
    if re.match(r"[a-z0-9]+://", name):
        raise _Wrong(f"'{name}' is an address, not a file; download it first")
    path = folder / name
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        kind = "is a folder" if "\0" not in name and path.is_dir() else "doesn't exist"
        raise _Wrong(f"the file '{name}' {kind}; paths are relative to {folder}")
    return path


def _summary(path: Path, wrong: list[tuple[int, str]]) -> str:
    """All that is wrong on one line: the first few rows, and how many more."""
    line, first = wrong[0]
    others = [f"line {line}: {text}" for line, text in wrong[1:_SHOWN]]
    more = [f"and {len(wrong) - _SHOWN} more such rows"] if len(wrong) > _SHOWN else []
    return " | ".join([f"{path}:{line}: {first}", *others, *more])
