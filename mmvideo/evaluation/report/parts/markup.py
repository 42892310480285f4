"""HTML by hand: escaped text, tags, numbers, pictures inside the page."""

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
    """A section of the page: its name in links, its title, its HTML; empty where there is nothing to show."""

    name: str
    title: str
    html: str


def text(value: object) -> str:
    """A value as text that holds no mark-up."""
    return html.escape(str(value), quote=True)


def tag(name: str, *inside: str, **attributes: object) -> str:
    """An element; a trailing underscore in an attribute's name is dropped, an attribute that is True stands alone."""
    words = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(f" {key}")
        elif value is not None and value is not False:
            words.append(f' {key}="{text(value)}"')
    end = "" if name == "img" else f"</{name}>"
    return f"<{name}{''.join(words)}>{''.join(inside)}{end}"


def section(name: str, title: str, how_to_read: str, *inside: str) -> str:
    """A part of the page: its title, how to read it, and what it shows."""
    lead = tag("p", how_to_read, class_="lead") if how_to_read else ""
    return tag("section", tag("h2", text(title)), lead, *inside, id=name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1, group: bool = False) -> str:
    """A table of cells that are HTML already; columns from `numbers_from` on hold numbers.

    Args:
      group: the first cell of a row is a heading, empty where it is that of the row above.
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
    """A share as percent, a dash where it is unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def number(value: int | float | None) -> str:
    """A number short enough to read: three or four digits that matter."""
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
    """A time in the unit that fits."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def p_value(value: int | float | None) -> str:
    """A probability; what is far too small to matter is only said to be small."""
    if value is None:
        return "–"
    return "&lt; 10⁻⁶" if value < 1e-6 else f"{value:.2g}"


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def png(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    """A picture as a PNG inside an address."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(picture), format="png")
    return data_uri(buffer.getvalue(), "image/png")
