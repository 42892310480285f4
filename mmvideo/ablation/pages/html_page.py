"""A page of results as one self-contained HTML file in the style of a run's report."""

from __future__ import annotations

from mmvideo.ablation.pages import plots
from mmvideo.ablation.pages.document import Document, Entry, Panel, Section, Table
from mmvideo.evaluation.report.parts.markup import section, tag, text
from mmvideo.evaluation.report.parts.style import STYLE

MORE = """
.facts dd{font-size:15px;max-width:34ch;overflow-wrap:anywhere}.facts.small{gap:10px 34px}
.about{max-width:78ch;margin-top:10px}
th.above{text-align:center;min-width:15ch;border-bottom:1px solid var(--line);padding-bottom:3px;color:var(--ink)}
th.above.none{border-bottom:0;min-width:0}.edge{padding-left:22px!important}
td.number{font-variant-numeric:tabular-nums}td b{font-weight:650}
td code{display:inline-block;white-space:normal;overflow-wrap:anywhere;min-width:22ch}
td.prose{white-space:normal;min-width:9ch}
.results td.long{white-space:normal;min-width:20ch;overflow-wrap:anywhere}
.scroll table{margin-bottom:4px}section a{color:var(--blue)}td a{text-decoration:none}
td a:hover{text-decoration:underline}
.results td,.results th{padding-left:9px;padding-right:9px}
.results td:first-child,.results th:first-child{padding-left:0}td small{color:var(--dim);font-size:12.5px}
.outcome{display:inline-block;padding:1px 10px;border-radius:20px;border:1px solid var(--line);white-space:nowrap;
font-size:13px;color:var(--dim)}
.outcome.holds{color:var(--good);border-color:var(--good)}.outcome.reversed{color:var(--mark);border-color:var(--mark)}
.chart svg text{fill:var(--dim);font-family:inherit}.charts+.scroll,.legend+.charts{margin-top:20px}
.charts{margin-bottom:26px;align-items:start}.legend i.dot{width:10px;height:10px;border-radius:50%}
.note{max-width:90ch;margin-top:8px}h3+.scroll{margin-top:0}
"""

OUTCOMES = ("holds", "reversed", "not settled", "not measured")
"""Texts that are shown in a frame."""


def webpage(document: Document) -> str:
    """Return the whole page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        + tag("title", text(document.title))
        + tag("style", STYLE + MORE)
    )
    links = [tag("a", text(part.title), href=f"#{part.name}") for part in document.sections]
    facts = [tag("dl", tag("dt", text(name)), tag("dd", text(value))) for name, value in document.facts]
    top = tag(
        "header",
        tag("h1", text(document.title)),
        *(tag("p", text(words), class_="about") for words in document.lead),
        tag("div", *facts, class_="facts small"),
    )
    body = tag("main", top, tag("nav", *links), *map(_section, document.sections))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _section(part: Section) -> str:
    """Return the HTML of a section."""
    return section(part.name, part.title, text(part.lead), _charts(part.panels), *map(_table, part.tables))


def _charts(panels: tuple[Panel, ...]) -> str:
    """Return the plots, below a legend of the colors that they share."""
    if not panels:
        return ""
    # One legend for all panels: a series keeps its color by its index in this order.
    names = list(dict.fromkeys(name for panel in panels for name in panel.series if name))
    keys = [
        tag("span", tag("i", class_="dot", style=f"background:var({_variable(place)})"), text(name))
        for place, name in enumerate(names)
    ]
    charts = [
        tag(
            "figure",
            tag("figcaption", tag("b", text(panel.title)), tag("span", text(panel.note)) if panel.note else ""),
            plots.svg(panel),
            class_="chart",
        )
        for panel in panels
    ]
    return (tag("div", *keys, class_="legend") if keys else "") + tag("div", *charts, class_="charts")


def _variable(place: int) -> str:
    """Return the CSS variable of the color of a series."""
    return plots.VARIABLES[plots.colour(place)]


def _table(table: Table) -> str:
    """Return a table with its title and its note; a folded table opens on request."""
    edges = _edges(table)
    rows = [
        tag("tr", *(_place(table, column, entry, column in edges) for column, entry in enumerate(row)))
        for row in table.rows
    ]
    heads = [
        tag("th", text(head), class_=_kind(table, column, column in edges)) for column, head in enumerate(table.head)
    ]
    inside = tag("table", tag("thead", _above(table), tag("tr", *heads)), tag("tbody", *rows), class_="results")
    shown = tag("div", inside, class_="scroll")
    note = tag("p", text(table.note), class_="note") if table.note else ""
    if table.folded:
        return tag("details", tag("summary", text(table.title)), shown, note)
    return (tag("h3", text(table.title)) if table.title else "") + shown + note


def _above(table: Table) -> str:
    """Return the row of group heads; empty without groups."""
    if not table.groups:
        return ""
    return tag(
        "tr",
        *(
            tag("th", text(words), colspan=count, class_="above" if words else "above none")
            for words, count in table.groups
        ),
    )


def _edges(table: Table) -> set[int]:
    """Return the columns at which a group begins; they get more space at their left."""
    starts, column = set(), 0
    # Group sizes [2, 3, 1] start at columns 0, 2 and 5; the first has nothing at its left, so the result is {2, 5}.
    for _, count in table.groups:
        starts.add(column)
        column += count
    return starts - {0}


def _kind(table: Table, column: int, edge: bool) -> str | None:
    """Return the CSS classes of a column."""
    kinds = [] if table.is_wordy(column) else ["number"]
    return " ".join([*kinds, *(["edge"] if edge else [])]) or None


def _place(table: Table, column: int, entry: Entry, edge: bool) -> str:
    """Return the HTML of an entry."""
    kind = _kind(table, column, edge) or ""
    if table.is_wordy(column):
        # Least widths: 20 characters for `long` columns, 9 for `prose`; both wrap.
        kind += " long" if len(entry.text) > 40 and not entry.code else " prose" if column > 0 else ""
    return tag("td", _inside(entry), class_=kind.strip() or None)


def _inside(entry: Entry) -> str:
    """Return the content of an entry."""
    if entry.links:
        return ", ".join(tag("a", text(words), href=address) for words, address in entry.links)
    if entry.text in OUTCOMES:
        return tag("span", text(entry.text), class_=f"outcome {entry.text.split()[0]}")
    first, *rest = (tag("code", text(line)) if entry.code and line else text(line) for line in entry.text.split("\n"))
    shown = "<br>".join([first, *(line if entry.code else tag("small", line) for line in rest)])
    return tag("b", shown) if entry.bold and shown else shown
