"""HTML without a template engine: escaped text, tags, numbers, embedded images."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8


@dataclasses.dataclass(frozen=True)
class Part:
    """A section of the page; `html` is empty if there is nothing to show.

    Attributes:
      name: Name in links.
      title: Title.
      html: Content.
    """

    name: str
    title: str
    html: str


def text(value: object) -> str:
    """Return a value as text without mark-up."""
    return html.escape(str(value), quote=True)


def tag(name: str, *inside: str, **attributes: object) -> str:
    """Return an element.

    A trailing underscore in an attribute's name is dropped. An attribute that is True has no value; None and False are
    left out.
    """
    words = []
    for key, value in attributes.items():
        # `class_` is `class` and `text_anchor` is `text-anchor`: Python names can't hold either.
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(f" {key}")
        elif value is not None and value is not False:
            words.append(f' {key}="{text(value)}"')
    end = "" if name == "img" else f"</{name}>"
    return f"<{name}{''.join(words)}>{''.join(inside)}{end}"


def section(name: str, title: str, how_to_read: str, *inside: str) -> str:
    """Return a section of the page: title, introduction and content."""
    lead = tag("p", how_to_read, class_="lead") if how_to_read else ""
    return tag("section", tag("h2", text(title)), lead, *inside, id=name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1, group: bool = False) -> str:
    """Return a table of cells that are already HTML; columns from `numbers_from` on hold numbers.

    Args:
      head: Cells of the header.
      rows: Cells of each row.
      numbers_from: First column of numbers.
      group: True if the first cell of a row is a heading, empty if it is the same as in the row above.
    """

    def cell(name: str, column: int, inside: str) -> str:
        return tag(name, inside, class_="number" if column >= numbers_from else None)

    top = tag("tr", *(cell("th", column, inside) for column, inside in enumerate(head)))
    body = [
        tag(
            "tr",
            *(cell("td", column, inside) for column, inside in enumerate(row)),
            class_="first" if group and row[0] else None,
        )
        for row in rows
    ]
    return tag("div", tag("table", tag("thead", top), tag("tbody", *body)), class_="scroll", tabindex=0)


def percent(value: int | float | None, digits: int = 1) -> str:
    """Return a share in percent; a dash if it is unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def number(value: int | float | None) -> str:
    """Return a number as short text of at most four digits."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 10_000_000:
        return f"{value / 1e6:.0f} M"
    if size >= 1_000_000:
        return f"{value / 1e6:.1f} M"
    if size >= 10_000:
        return f"{value / 1e3:.0f} k"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}"


def duration(seconds: int | float) -> str:
    """Return a duration in a unit that fits."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def p_value(value: int | float | None) -> str:
    """Return a probability; one below 10⁻⁶ only as an upper bound."""
    if value is None:
        return "–"
    return "&lt; 10⁻⁶" if value < 1e-6 else f"{value:.2g}"


def data_uri(content: bytes, kind: str) -> str:
    """Return a data URI of bytes."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def png(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    """Return a data URI of an image as PNG."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(picture), format="png")
    return data_uri(buffer.getvalue(), "image/png")
