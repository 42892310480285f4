"""What a manifest may say of a clip beside its words: classes, numbers, and the moments that its caption tells of.

Every kind of label is of one sort throughout a corpus:

    "labels": {"verb": "climbs"}               one class; a whole number is a class name too
    "labels": {"events": ["dog", "bark"]}      several classes; an empty list is known to have none
    "labels": {"sentiment": -1.3}              a number; where one value of a kind has a point, all are

`moments` are `[[start, end], …]` in seconds after the start of the clip, what its first caption tells of (QVHighlights'
`relevant_windows`). `saliency` says how well each window of `step` seconds shows it, from 0 to 1, `null` where nobody
said: `{"step": 2.0, "scores": [null, 0.5, …]}`, or the scores alone in windows of 2 s (for QVHighlights the mean of the
three annotators' scores over 4, and 0 outside of `relevant_clip_ids`). `events` are
`[{"start", "end", "caption"}, …]`, all that happens in the clip (ActivityNet Captions, YouCook2).
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
"""Of the numbers that a corpus can hold, which are float32."""

WINDOW = 2.0
"""Seconds of a window of saliency where the manifest gives none, those of QVHighlights."""

SORTS = {"single": "one class", "several": "a list of classes", "number": "a number"}
"""The sorts of labels, and how they are called."""

Label = str | tuple[str, ...] | float
"""What is known of one kind: a class name, several of them, or a number."""


class AnnotationError(ValueError):
    """What is wrong with one row of a manifest."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The kinds of labels of a corpus, by their sort.

    Attributes:
      single: kinds of which a clip has one class.
      several: kinds of which a clip may have several classes.
      number: kinds that are a number.
    """

    single: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    number: tuple[str, ...] = ()

    def sort(self, kind: str) -> str | None:
        """The sort of a kind; None for one that isn't there."""
        return next((sort for sort in SORTS if kind in getattr(self, sort)), None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds."""
        return self.single + self.several + self.number


@dataclasses.dataclass(frozen=True)
class Saliency:
    """How well windows of a clip show what its caption tells of.

    Attributes:
      step: seconds of a window; the first starts with the clip.
      scores: of each window, in [0, 1]; None where nothing is known.
    """

    step: float
    scores: tuple[float | None, ...]


def merge(found: Sequence[tuple[str, Annotations]]) -> Annotations:
    """The kinds of all of several corpora, given with their names.

    Raises:
      ValueError: a kind is of one sort in one of them and of another in another.
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
    """The labels of a row. A whole number stays one, since other rows decide what it is (see `normalise_labels`).

    Raises:
      Wrong: a kind without a usable name, or something that is no label.
    """
    labels = dict(object_of(values, "labels"))
    if "label" in values:
        if isinstance(values["label"], (list, float)):
            raise AnnotationError(
                f"'label' must be one class name, not {json.dumps(values['label'])[:60]}; several or a number go into "
                '\'labels\', such as "labels": {"events": ["dog", "bark"]}'
            )
        if labels.get("label", values["label"]) != values["label"]:
            raise AnnotationError("'label' and 'labels' disagree; give one of them")
        labels["label"] = values["label"]
    for kind in labels:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", kind):
            raise AnnotationError(f"'{kind}' can't be a kind of label; use letters, digits and _")
    return {kind: _label(kind, value) for kind, value in labels.items() if value is not None}


def _label(kind: str, value: Any) -> Label | int:
    """A label of a row; space around a class name is none of it, as in CSV.

    Raises:
      Wrong: it is no label.
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
    """Whether it is one class name; TFDS keeps them one a line, stripped, and takes `\\r` for the end of a line too."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return False
    return value != "" and not (isinstance(value, str) and ("\n" in value or "\r" in value))


def normalise_labels(
    rows: Sequence[tuple[int, Mapping[str, Label | int]]],
) -> tuple[list[dict[str, Label]], list[tuple[int, AnnotationError]]]:
    """What the whole numbers among labels are, when the labels of all rows are known with their lines.

    Returns:
      The labels of each row, and line and error of those whose sort is another than that of the rows before.
    """
    sorts: dict[str, tuple[str, int]] = {}
    for line, labels in rows:
        for kind, value in labels.items():
            if sort := _sort(value):
                sorts.setdefault(kind, (sort, line))
    wrong = []
    for line, labels in rows:
        for kind, value in labels.items():
            sort, where = sorts.get(kind, ("single", line))
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
    """The sort of a label; None for a whole number, which may be a class name or a number."""
    return {str: "single", tuple: "several", float: "number"}.get(type(value))


def annotations_of(labels: Sequence[Mapping[str, Label]]) -> Annotations:
    """The kinds that occur among settled labels, in the order of their names."""
    sorts = {kind: _sort(value) for row in labels for kind, value in row.items()}
    return Annotations(*(tuple(sorted(kind for kind in sorts if sorts[kind] == sort)) for sort in SORTS))


def check_classes(labels: Mapping[str, Label], classes: Mapping[str, Sequence[str]]) -> None:
    """Holds labels to the class names that `classes.json` fixes.

    Raises:
      Wrong: a class that isn't among them, or a number where there are classes.
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
    """The moments of a row in the order of time; None where it says nothing of any.

    Args:
      values: the row.
      length: seconds of the clip, where the row says them.

    Raises:
      Wrong: they are no stretches of the clip.
    """
    if "moments" not in values:
        return None
    moments = values["moments"]
    if not isinstance(moments, list) or not all(isinstance(one, list) and len(one) == 2 for one in moments):
        raise AnnotationError(f"'moments' must be a list of [start, end] in seconds, not {json.dumps(moments)[:60]}")
    return tuple(sorted(_stretch("moments", start, end, length) for start, end in moments))


def read_saliency(values: Mapping[str, Any]) -> Saliency | None:
    """The saliency of a row; None where it says nothing of it.

    Raises:
      Wrong: it isn't as the head of this file says.
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
    """Looks at the events of a row, which stay among its attributes.

    Raises:
      Wrong: they aren't as the head of this file says.
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
    """A stretch of the clip, checked."""
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
    """Whether it is a finite number, and no whole number too large for a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def object_of(values: Mapping[str, Any], name: str) -> dict:
    """The JSON object in a column; empty without one.

    Raises:
      Wrong: it is something else.
    """
    value = values.get(name, {})
    if not isinstance(value, dict):
        raise AnnotationError(f"'{name}' must be an object, not {json.dumps(value)[:60]}")
    return value
