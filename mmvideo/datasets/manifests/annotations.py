"""Annotations of a clip in a manifest, besides captions: classes, numbers, and the moments that its caption describes.

Every label type is of one sort throughout a corpus:

    "labels": {"verb": "climbs"}               one class; an integer is a class name too
    "labels": {"events": ["dog", "bark"]}      several classes; an empty list states that there are none
    "labels": {"sentiment": -1.3}              a number; if one value of a type has a decimal point, all are numbers

`moments` are `[[start, end], …]` in seconds from the start of the clip, the parts that its first caption describes
(QVHighlights' `relevant_windows`). `saliency` is a score of each window of `step` seconds, from 0 to 1, for how well it
shows the caption, `null` where unknown: `{"step": 2.0, "scores": [null, 0.5, …]}`, or the scores alone for windows of
2 s (for QVHighlights the mean of the three annotators' scores over 4, and 0 outside of `relevant_clip_ids`). `events`
are `[{"start", "end", "caption"}, …]`, all events of the clip (ActivityNet Captions, YouCook2).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST = 3.4028234663852886e38
"""Largest number that a corpus can hold, because numbers are float32."""

WINDOW = 2.0
"""Default length in seconds of a window of saliency, that of QVHighlights."""

SORTS = {"single": "one class", "several": "a list of classes", "number": "a number"}
"""Sorts of labels, with their names in messages."""

Label = str | tuple[str, ...] | float
"""Value of one label type: a class name, several class names, or a number."""


class AnnotationError(ValueError):
    """An error in one row of a manifest."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Label types of a corpus by sort.

    Attributes:
      single: label types with one class for each clip.
      several: label types that may have several classes for each clip.
      number: label types with a number for each clip.
    """

    single: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    number: tuple[str, ...] = ()

    def sort(self, kind: str) -> str | None:
        """Return the sort of a label type; None for an unknown one."""
        return next((sort for sort in SORTS if kind in getattr(self, sort)), None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """All label types."""
        return self.single + self.several + self.number


@dataclasses.dataclass(frozen=True)
class Saliency:
    """Scores of a clip's windows for how well they show what its caption describes.

    Attributes:
      step: length of a window in seconds; the first starts with the clip.
      scores: score of each window, in [0, 1]; None where it is unknown.
    """

    step: float
    scores: tuple[float | None, ...]


def merge(found: Sequence[tuple[str, Annotations]]) -> Annotations:
    """Return the label types of several corpora together, given with their names.

    Raises:
      ValueError: a label type has different sorts in different corpora.
    """
    sorts: dict[str, tuple[str, str]] = {}
    for name, own in found:
        for kind in own.kinds:
            sort = own.sort(kind)
            before, where = sorts.setdefault(kind, (sort, name))
            if before != sort:
                raise ValueError(
                    f"label '{kind}' is {SORTS[before]} in {where}, {SORTS[sort]} in {name}; rename it in one of them"
                )
    return Annotations(*(tuple(kind for kind, (sort, _) in sorts.items() if sort == wanted) for wanted in SORTS))


def read_labels(values: Mapping[str, Any]) -> dict[str, Label | int]:
    """Return the labels of a row. Integers are kept, because other rows decide their sort (see `normalise_labels`).

    Raises:
      AnnotationError: a label type has no usable name, or a value is no label.
    """
    labels = dict(object_of(values, "labels"))
    if "label" in values:
        if isinstance(values["label"], (list, float)):
            raise AnnotationError(
                f"'label' must be one class name, not {json.dumps(values['label'])[:60]}; several or a number go into "
                '\'labels\', such as "labels": {"events": ["dog", "bark"]}'
            )
        # `"label": "cat"` and `"labels": {"label": "cat"}` mean the same.
        if labels.get("label", values["label"]) != values["label"]:
            raise AnnotationError("'label' and 'labels' disagree; give one of them")
        labels["label"] = values["label"]
    for kind in labels:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", kind):
            raise AnnotationError(f"'{kind}' can't be a kind of label; use letters, digits and _")
    return {kind: _label(kind, value) for kind, value in labels.items() if value is not None}


def _label(kind: str, value: Any) -> Label | int:
    """Return a label of a row, with class names stripped of white space, as in CSV.

    Raises:
      AnnotationError: the value is no label.
    """
    value = [_stripped(name) for name in value] if isinstance(value, list) else _stripped(value)
    if isinstance(value, list):
        if not all(_is_name(name) for name in value) or len(set(map(str, value))) < len(value):
            raise AnnotationError(f"label '{kind}' must list different class names, not {json.dumps(value)[:60]}")
        return tuple(map(str, value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise AnnotationError(
                f"label '{kind}' must be a finite number, not {json.dumps(value)}; leave out what is unknown"
            )
        if abs(value) > LARGEST:
            raise AnnotationError(
                f"label '{kind}' must be at most {LARGEST:.2e}, the largest float32, not {json.dumps(value)}"
            )
        return value
    if not _is_name(value):
        raise AnnotationError(
            f"label '{kind}' must be one class name, a list of them or a number, not {json.dumps(value)[:60]}"
        )
    return value


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _is_name(value: Any) -> bool:
    """Return whether the value is a class name; TFDS stores them one a line, stripped, and `\\r` ends a line too."""
    # In Python True is an int, but in JSON it is neither a name nor a number.
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return False
    return value != "" and not (isinstance(value, str) and ("\n" in value or "\r" in value))


def normalise_labels(
    rows: Sequence[tuple[int, Mapping[str, Label | int]]],
) -> tuple[list[dict[str, Label]], list[tuple[int, AnnotationError]]]:
    """Resolve the integers among the labels of all rows, given with their line numbers.

    Returns:
      The labels of each row, and line and error of those whose sort differs from earlier rows.
    """
    sorts: dict[str, tuple[str, int]] = {}
    for line, labels in rows:
        for kind, value in labels.items():
            if sort := _sort(value):
                # The first row with a definite sort decides; an integer fits a class as well as a number.
                sorts.setdefault(kind, (sort, line))
    wrong = []
    for line, labels in rows:
        for kind, value in labels.items():
            sort, where = sorts.get(kind, ("single", line))
            # Rows 3 and 2.5 of one type: 2.5 makes the type a number, so 3 becomes 3.0. Rows 3 and "run": 3 becomes the
            # class "3".
            own = _sort(value) or ("single" if sort == "several" else sort)
            if own != sort:
                wrong.append(
                    (line, AnnotationError(f"label '{kind}' is {SORTS[own]}, but {SORTS[sort]} on line {where}"))
                )

    for line, labels in rows:
        for kind, value in labels.items():
            if _sort(value) is None and sorts.get(kind, ("",))[0] == "number" and abs(value) > LARGEST:
                wrong.append((line, AnnotationError(f"label '{kind}' is a number, and must be at most {LARGEST:.2e}")))

    def settled(kind: str, value: Label | int) -> Label:
        if _sort(value) is None:
            number = sorts.get(kind, ("",))[0] == "number" and abs(value) <= LARGEST
            return float(value) if number else str(value)
        return value

    return [{kind: settled(kind, value) for kind, value in labels.items()} for _, labels in rows], wrong


def _sort(value: Label | int) -> str | None:
    """Return the sort of a label; None for an integer, which may be a class name or a number."""
    return {str: "single", tuple: "several", float: "number"}.get(type(value))


def annotations_of(labels: Sequence[Mapping[str, Label]]) -> Annotations:
    """Return the label types that occur among normalised labels, sorted by name."""
    sorts = {kind: _sort(value) for row in labels for kind, value in row.items()}
    return Annotations(*(tuple(sorted(kind for kind in sorts if sorts[kind] == sort)) for sort in SORTS))


def check_classes(labels: Mapping[str, Label], classes: Mapping[str, Sequence[str]]) -> None:
    """Compare labels with the class names of `classes.json`.

    Raises:
      AnnotationError: a class is not among them, or a number is given where there are classes.
    """
    for kind, value in labels.items():
        if kind not in classes:
            continue
        if isinstance(value, float):
            raise AnnotationError(f"label '{kind}' is the number {value:g}, but classes.json lists classes of it")
        for name in (value,) if isinstance(value, str) else value:
            if name not in classes[kind]:
                near = difflib.get_close_matches(name, classes[kind], n=1)
                hint = f"; did you mean '{near[0]}'?" if near else "; add it there or correct the row"
                raise AnnotationError(f"class '{name}' of label '{kind}' isn't in classes.json{hint}")


def read_moments(values: Mapping[str, Any], length: float | None) -> tuple[tuple[float, float], ...] | None:
    """Return the moments of a row, sorted by time; None if it has none.

    Args:
      values: the row.
      length: length of the clip in seconds, if the row states it.

    Raises:
      AnnotationError: a moment is not a stretch of the clip.
    """
    if "moments" not in values:
        return None
    moments = values["moments"]
    if not isinstance(moments, list) or not all(isinstance(one, list) and len(one) == 2 for one in moments):
        raise AnnotationError(f"'moments' must be a list of [start, end] in seconds, not {json.dumps(moments)[:60]}")
    return tuple(sorted(_stretch("moments", start, end, length) for start, end in moments))


def read_saliency(values: Mapping[str, Any]) -> Saliency | None:
    """Return the saliency of a row; None if it has none.

    Raises:
      AnnotationError: it does not have the form in the docstring of this module.
    """
    if "saliency" not in values:
        return None
    given = values["saliency"]
    if isinstance(given, list):
        given = {"step": WINDOW, "scores": given}
    if not isinstance(given, dict) or set(given) != {"step", "scores"} or not isinstance(given["scores"], list):
        raise AnnotationError(
            f'\'saliency\' must be {{"step": seconds, "scores": […]}} or a list, not {json.dumps(given)[:60]}'
        )
    if not is_number(given["step"]) or given["step"] <= 0:
        raise AnnotationError(f"'saliency' must have a step of more than 0 seconds, not {json.dumps(given['step'])}")
    for score in given["scores"]:
        if score is not None and not (is_number(score) and 0 <= score <= 1):
            raise AnnotationError(f"'saliency' must have scores from 0 to 1, or null, not {json.dumps(score)}")
    return Saliency(float(given["step"]), tuple(None if s is None else float(s) for s in given["scores"]))


def check_events(values: Mapping[str, Any], length: float | None) -> None:
    """Check the events of a row, which stay among its attributes.

    Raises:
      AnnotationError: they do not have the form in the docstring of this module.
    """
    events = values.get("events", [])
    if not isinstance(events, list):
        raise AnnotationError(f"'events' must be a list, not {json.dumps(events)[:60]}")
    for event in events:
        whole = isinstance(event, dict) and {"start", "end", "caption"} <= set(event)
        if not whole or not isinstance(event["caption"], str):
            raise AnnotationError(f'\'events\' must hold {{"start", "end", "caption"}}, not {json.dumps(event)[:60]}')
        _stretch("events", event["start"], event["end"], length)


def _stretch(name: str, start: Any, end: Any, length: float | None) -> tuple[float, float]:
    """Return a checked stretch of the clip."""
    if not (is_number(start) and is_number(end) and 0 <= start < end):
        raise AnnotationError(
            f"'{name}' must go from a start of 0 s or more to a later end, not {json.dumps([start, end])}"
        )
    if length is not None and start >= length:
        raise AnnotationError(
            f"'{name}' has {json.dumps([start, end])} s, but the clip lasts {length:g} s; count from its own start"
        )
    return float(start), float(end)


def is_number(value: Any) -> bool:
    """Return whether the value is a finite number, and no integer too large for a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def object_of(values: Mapping[str, Any], name: str) -> dict:
    """Return the JSON object in a column; empty without one.

    Raises:
      AnnotationError: the value is not an object.
    """
    value = values.get(name, {})
    if not isinstance(value, dict):
        raise AnnotationError(f"'{name}' must be an object, not {json.dumps(value)[:60]}")
    return value
