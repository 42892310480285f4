"""Confusion matrix as an image, with tables of mistakes and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mmvideo.evaluation.report.parts.markup import number, percent, table, tag, text

MOST = 40
"""Largest number of classes in the image; of more, those with the most mistakes are shown."""

_SIDE, _SMALLEST, _LARGEST = 560, 14, 46
_WRITTEN = 26  # smallest size of a cell with a number in it
_LETTER = 6.2  # width of a letter of a label
_LONGEST = 26  # largest number of letters of a label
_PAIRS = 12


def confusion_picture(details: Mapping[str, Any]) -> str:
    """Return the matrix: a row for each true class, a column for each prediction, coloured by its share of the row."""
    if "confusion" not in details:
        return tag("p", text(details["confusion_left_out"]), class_="note") if "confusion_left_out" in details else ""
    matrix = np.asarray(details["confusion"], np.int64)
    classes = list(details["classes"])
    shown = most_confused_classes(matrix)
    note = "Rows are the truth, columns the prediction. Colour is the share of the row; numbers are clips."
    if len(shown) < len(classes):
        note += (
            f" Shown are the {len(shown)} of {len(classes)} classes with the most mistakes (as truth and as "
            "prediction). Mistakes with any other class are not in the image, but count in the shares."
        )
    picture = _drawn(matrix[np.ix_(shown, shown)], matrix.sum(axis=1)[shown], [classes[place] for place in shown])
    return tag("div", picture, class_="scroll") + tag("p", note, class_="note")


def most_confused_classes(matrix: Int[np.ndarray, "C C"], most: int = MOST) -> Int[np.ndarray, "k"]:
    """Return all classes, or the `most` with the most mistakes, in the order of the classes."""
    # [[5, 2], [1, 7]]: columns [6, 9], rows [7, 8], diagonal [5, 7], so each class takes part in 3 mistakes.
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:most])


def _drawn(matrix: Int[np.ndarray, "k k"], support: Int[np.ndarray, "k"], classes: Sequence[str]) -> str:
    """Return the image; shares are of `support`."""
    # 10 classes: 56 is cut to 46 pixels a cell; 40 classes: 14 pixels, too small for numbers.
    size = int(np.clip(_SIDE / len(classes), _SMALLEST, _LARGEST))
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in classes]
    margin = 12 + _LETTER * max(map(len, names))
    # Column names are turned by 48 degrees, and sin 48° is about 0.75: the height of the longest name.
    slant = 0.75 * (margin - 12)
    top = 14 + slant
    parts = []
    for row, name in enumerate(names):
        middle = (row + 0.5) * size
        parts.append(tag("text", text(name), x=f"{margin - 8:.1f}", y=f"{top + middle + 4:.1f}", text_anchor="end"))
        turned = f"translate({margin + middle + 4:.1f} {top - 8:.1f}) rotate(-48)"
        parts.append(tag("text", text(name), transform=turned))
        for column, clips in enumerate(matrix[row].tolist()):
            share = clips / max(int(support[row]), 1)
            said = f"{classes[row]} predicted as {classes[column]}: {clips} of {support[row]} clips, {percent(share)} %"
            place = margin + column * size, top + row * size
            parts.append(_cell(clips, share, place, size, said, right=row == column))
    # The slanted name of the last column extends beyond that column.
    width, height = margin + size * len(classes) + 0.9 * slant, top + size * len(classes) + 2
    kind = "confusion" if size >= _WRITTEN else "confusion small"
    return tag(
        "svg", *parts, viewBox=f"0 0 {width:.0f} {height:.0f}", width=f"{width:.0f}", height=f"{height:.0f}",
        class_=kind, role="img", aria_label=f"confusion matrix of {len(names)} classes",
    )  # fmt: skip


def _cell(clips: int, share: float, place: tuple[float, float], size: int, said: str, *, right: bool) -> str:
    """Return a square with its numbers in a tooltip, and in the cell if it is large enough."""
    x, y = place
    shade = 0.12 + 0.88 * share
    kind = "no-cell" if not clips else "right-cell" if right else "wrong-cell"
    square = tag(
        "rect", tag("title", text(said)), x=f"{x:.1f}", y=f"{y:.1f}", width=size - 1, height=size - 1, rx=2,
        class_=kind, fill_opacity=f"{shade:.2f}" if clips else None,
    )  # fmt: skip
    if not clips or size < _WRITTEN:
        return square
    middle = f"{x + (size - 1) / 2:.1f}"
    kind = "on-dark" if shade > 0.55 else "on-light"
    return square + tag("text", number(clips), x=middle, y=f"{y + size / 2 + 3.5:.1f}", class_=kind)


def confused_pairs(details: Mapping[str, Any]) -> str:
    """Return a table of the most frequent mistakes."""
    pairs = details.get("most_confused", [])[:_PAIRS]
    if not pairs:
        return ""
    support = dict(zip(details["classes"], details["per_class"]["support"], strict=True))
    rows = [[text(true), text(said), number(clips), percent(clips / support[true])] for true, said, clips in pairs]
    listed = table(["truth", "prediction", "clips", "% of the class"], rows, 2)
    return tag("div", tag("h4", "Most frequent mistakes"), listed, class_="mistakes")


def class_table(details: Mapping[str, Any]) -> str:
    """Return a collapsed table of every class with its scores, best first and absent classes last."""
    columns = {
        "support": "clips", "precision": "precision %", "recall": "recall %", "f1": "F1 %",
        "average_precision": "AP %", "auc": "AUC",
    }  # fmt: skip
    per_class = details["per_class"]
    key = per_class.get("f1") or per_class["average_precision"]
    order = sorted(range(len(key)), key=lambda place: (key[place] is None, -(key[place] or 0.0)))
    have = [name for name in columns if name in per_class]
    rows = [
        [text(details["classes"][place])]
        + [(percent if columns[name].endswith("%") else number)(per_class[name][place]) for name in have]
        for place in order
    ]
    head = ["class", *(columns[name] for name in have)]
    absent = len(details.get("absent", ()))
    said = f"All {len(rows)} classes" + (f", {absent} of them without a clip" if absent else "")
    return tag("details", tag("summary", said), table(head, rows))
