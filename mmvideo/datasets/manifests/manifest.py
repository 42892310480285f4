"""Manifest of clips, as JSON lines or CSV, read and checked before a build.

Columns: `id` and `media` (a path, relative to the manifest's folder) are required. Optional are `start` and `end`
(seconds: the clip is that cut of the file), `caption` or `captions`, `label` (one class) or `labels` (for each label
type a class, a list of classes or a number), `moments`, `saliency` and `events` (timed annotations: see `annotations`),
`split` (default `train`), `tags` and `attributes` (any JSON object). Every other column is kept among the attributes. A
file `classes.json` beside the manifest (`{"label": ["cat", "dog"]}`) fixes class names and their numbers; without it
they are the labels that occur, sorted. Several rows may name one file.

In CSV, `captions`, `tags`, `labels`, `moments`, `saliency`, `events` and `attributes` hold JSON; a plain cell is one
caption, or tags separated by `;`. A label type may have its own column: `label.KIND` holds one class, `labels.KIND`
several separated by `|` (`|` alone is an empty list), `number.KIND` a number. White space around column names and cells
is ignored; a cell `nan` is missing, and a warning has the number of such cells.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmvideo.datasets.manifests.annotations import (
    AnnotationError,
    check_classes,
    check_events,
    is_number,
    normalise_labels,
    object_of,
    read_labels,
    read_moments,
    read_saliency,
)
from mmvideo.datasets.manifests.folder import find_clips
from mmvideo.datasets.manifests.manifest_reader import ManifestError, raw_rows, without_twins
from mmvideo.datasets.manifests.manifest_row import ManifestRow
from mmvideo.datasets.manifests.surrogates import find_unpaired, spelled_out

NAMES = ("manifest.jsonl", "manifest.csv")
"""File names of a manifest in a folder, in order of preference."""

COLUMNS = (
    "id", "media", "start", "end", "caption", "captions", "label", "labels", "split", "tags", "attributes",
)  # fmt: skip
"""Columns with a field of their own; the others are kept among the attributes, timed annotations too."""

_SHOWN = 4
_LOG = logging.getLogger(__name__)


def read_manifest(path: str | Path, allow_outside: bool = False) -> list[ManifestRow]:
    """Read and check a manifest, or find the clips of a folder without one.

    Args:
      path: a `.jsonl` or `.csv` file, a folder that holds `manifest.jsonl` or `manifest.csv`, or a folder of clips
        (see `folder.find_clips`).
      allow_outside: whether media may be outside the manifest's folder, by `..` or an absolute path. A foreign manifest
        could otherwise put any file of this machine into a corpus.

    Raises:
      ManifestError: the manifest cannot be read, is empty, or has wrong rows; the message lists the first few.
      FileNotFoundError: `path` does not exist.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            return find_clips(path)
        path = found[0]
    rows, wrong, seen = [], [], {}
    for line, values in raw_rows(path):
        try:
            row = _row(path, line, values)
            if not allow_outside:
                _check_inside(path.parent, row.media)
            if row.id in seen:
                raise AnnotationError(f"id '{row.id}' is already used on line {seen[row.id]}; ids must differ")
            seen[row.id] = line
            rows.append(row)
        except AnnotationError as error:
            wrong.append((line, error))
    rows, unlike = _settled(rows, read_classes(path.parent))
    # Errors of single rows and of label sorts together, in the order of lines.
    wrong = sorted(wrong + unlike, key=lambda pair: pair[0])
    if wrong:
        raise ManifestError(_summary(path, wrong))
    if not rows:
        raise ManifestError(f"{path}:1: the manifest is empty; write one row for each clip, with 'id' and 'media'")
    return rows


def read_classes(folder: Path) -> dict[str, list[str]]:
    """Return the class names that `classes.json` in a folder fixes; empty without such a file.

    Raises:
      ManifestError: the file is not a JSON object of lists of different names.
    """
    path = Path(folder) / "classes.json"
    if not path.is_file():
        return {}
    try:
        classes = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=without_twins)
    except AnnotationError as error:
        raise ManifestError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: isn't JSON ({error})") from None
    plain = isinstance(classes, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        for names in classes.values()
    )
    if plain and (found := find_unpaired(classes)):
        raise ManifestError(f"{path}: '{found[0]}' holds {found[1]}, half of a character; write the whole character")
    if plain and (loose := [name for names in classes.values() for name in names if not _is_line(name)]):
        raise ManifestError(f"{path}: {json.dumps(loose[0])} can't be a class; leave out line ends and space around it")
    if not plain:
        raise ManifestError(f'{path}: must list different class names by kind, such as {{"label": ["cat", "dog"]}}')
    return classes


def _is_line(name: str) -> bool:
    return bool(name) and name == name.strip() and "\n" not in name and "\r" not in name


def class_names(rows: Iterable[ManifestRow], fixed: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the class names by label type: those of `classes.json`, or those that occur, in natural order.

    A label type with only empty lists has no classes; a warning reports it.
    """
    found: dict[str, set[str]] = {}
    for row in rows:
        for kind, value in row.labels.items():
            if not isinstance(value, float):
                found.setdefault(kind, set()).update((value,) if isinstance(value, str) else value)
    for kind in (kind for kind in found if not found[kind] and not fixed.get(kind)):
        _LOG.warning("label '%s' has no class in any row, all lists are empty; classes.json may name its classes", kind)

    def natural(name: str) -> list:
        # "a10b" gives [(1, "a"), (0, 10), (1, "b")], so it sorts after "a9b".
        return [(1, part) if i % 2 == 0 else (0, int(part)) for i, part in enumerate(re.split(r"(\d+)", name))]

    return {kind: list(fixed[kind]) if kind in fixed else sorted(found[kind], key=natural) for kind in sorted(found)}


def _row(path: Path, line: int, values: dict[str, Any] | AnnotationError) -> ManifestRow:
    if isinstance(values, AnnotationError):
        raise values
    if not isinstance(values, dict):
        raise AnnotationError('isn\'t an object; write {"id": …, "media": …} on a line')
    # A file's name may well be of other bytes.
    found = find_unpaired({name: value for name, value in values.items() if name != "media"})
    return _plain_row(path.parent, line, values) if found is None else _left_out(path, line, values, *found)


def _left_out(path: Path, line: int, values: dict[str, Any], name: str, surrogate: str) -> ManifestRow:
    """Return a row that marks a clip with invalid text; the build goes on, and lists it with the reason."""
    fault = (
        f"{path}:{line}: '{name}' holds {surrogate}, half of a character, which UTF-8 can't write; "
        "write the whole character, or leave it out"
    )
    media = _text(values, "media", "the clip's file, relative to the manifest")
    own = spelled_out(_text(values, "id", "a name of its own"))
    split = "train" if name == "split" else _split(values)
    return ManifestRow(own, _media(path.parent, media), split=split, line=line, fault=fault)


def _plain_row(folder: Path, line: int, values: dict[str, Any]) -> ManifestRow:
    values = {name: value for name, value in values.items() if value is not None}
    start, end = _cut(values)
    # A cut from 5 to 8 s is a clip of 3 s, and its moments count from its own start.
    length = None if end is None else end - (start or 0.0)
    check_events(values, length)
    rest = {name: value for name, value in values.items() if name not in COLUMNS}
    return ManifestRow(
        id=_text(values, "id", "a name of its own"),
        media=_media(folder, _text(values, "media", "the clip's file, relative to the manifest")),
        start=start,
        end=end,
        captions=_captions(values),
        labels=read_labels(values),
        split=_split(values),
        tags=_texts(values, "tags"),
        attributes={**rest, **object_of(values, "attributes")},
        moments=read_moments(values, length),
        saliency=read_saliency(values),
        line=line,
    )


def _settled(rows: list[ManifestRow], classes: dict[str, list[str]]) -> tuple[list[ManifestRow], list]:
    """Return the rows with normalised and checked labels, and line and error of the invalid ones."""
    labels, wrong = normalise_labels([(row.line, row.labels) for row in rows])
    rows = [dataclasses.replace(row, labels=own) for row, own in zip(rows, labels, strict=True)]
    for row in rows:
        try:
            check_classes(row.labels, classes)
        except AnnotationError as error:
            wrong.append((row.line, error))
    return rows, wrong


def _text(values: dict, name: str, meaning: str) -> str:
    if name not in values:
        raise AnnotationError(f"no '{name}' ({meaning})")
    if not isinstance(values[name], str) or not values[name].strip():
        raise AnnotationError(f"'{name}' must be a text ({meaning}), not {json.dumps(values[name])}")
    return values[name]


def _texts(values: dict, name: str) -> tuple[str, ...]:
    texts = values.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise AnnotationError(f"'{name}' must be a list of texts, not {json.dumps(texts)[:60]}")
    return tuple(texts)


def _captions(values: dict) -> tuple[str, ...]:
    if isinstance(values.get("captions"), str):
        values = {**values, "captions": [values["captions"]]}
    one = (_text(values, "caption", "a sentence"),) if "caption" in values else ()
    return tuple(text.strip() for text in one + _texts(values, "captions") if text.strip())


def _split(values: dict) -> str:
    split = values.get("split", "train")
    if not isinstance(split, str) or not re.fullmatch(r"[A-Za-z]\w*", split, re.ASCII) or split == "all":
        raise AnnotationError(f"'split' must be a word such as train or test, not {json.dumps(split)} ('all' is taken)")
    return split


def _cut(values: dict) -> tuple[float | None, float | None]:
    for name in ("start", "end"):
        value = values.get(name, 0)
        if not is_number(value) or value < 0:
            raise AnnotationError(f"'{name}' must be a number of seconds from 0, not {json.dumps(value)[:60]}")
    start, end = values.get("start"), values.get("end")
    if end is not None and end <= (start or 0):
        raise AnnotationError(f"'end' ({end:g}) must be greater than 'start' ({start or 0:g})")
    return (None if start is None else float(start)), (None if end is None else float(end))


def _check_inside(folder: Path, media: Path) -> None:
    """Refuse media outside a folder, according to its path; links in the folder may lead anywhere."""
    if not Path(os.path.normpath(media)).is_relative_to(os.path.normpath(folder)):
        raise AnnotationError(
            f"the file '{media}' lies outside of {folder}; move it there, or allow it (`data build --allow-outside`)"
        )


def _media(folder: Path, name: str) -> Path:
    if re.match(r"[a-z0-9]+://", name):
        raise AnnotationError(f"'{name}' is an address, not a file; download it first")
    path = folder / name
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        raise AnnotationError(f"the file '{name[:300]}' {_what_is_there(path)}; paths are relative to {folder}")
    return path


def _what_is_there(path: Path) -> str:
    """Return a description of what exists in place of a file."""
    try:
        return "is a folder" if path.is_dir() else "is no plain file" if path.exists() else "doesn't exist"
    except (OSError, ValueError) as error:  # A name that is too long, or holds a zero.
        return f"can't be there ({getattr(error, 'strerror', None) or error})"


def _summary(path: Path, wrong: list[tuple[int, AnnotationError]]) -> str:
    """Return all errors on one line: the first few, and the number of the rest."""
    line, first = wrong[0]
    # A thousand wrong rows usually have one cause, so a few lines suffice.
    others = [f"line {line}: {text}" for line, text in wrong[1:_SHOWN]]
    more = [f"and {len(wrong) - _SHOWN} more such rows"] if len(wrong) > _SHOWN else []
    return spelled_out(" | ".join([f"{path}:{line}: {first}", *others, *more]))
