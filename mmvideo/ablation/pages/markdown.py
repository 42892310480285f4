"""A page of results as Markdown."""

from __future__ import annotations

from mmvideo.ablation.pages.document import Document, Entry, Section, Table


def markdown(document: Document, linked: bool = True, folded: bool = True) -> str:
    """Return the page with its tables and without its plots.

    Args:
      document: the page.
      linked: whether to write links; without, only their text is written, for a terminal.
      folded: whether to write folded tables; without, one line says how many rows they have.
    """
    facts = "\n".join(f"- {name}: {value}" for name, value in document.facts)
    parts = [
        f"# {document.title}",
        *document.lead,
        facts,
        *(_section(part, linked, folded) for part in document.sections),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section, linked: bool, folded: bool) -> str:
    """Return a section."""
    parts = [f"## {section.title}", section.lead]
    for table in section.tables:
        if table.folded and not folded:
            parts.append(f"{table.title}: {len(table.rows)} rows, shown with --all")
            continue
        parts += [f"### {table.title}" if table.title else "", aligned(table, linked), table.note]
    return "\n\n".join(part for part in parts if part)


def aligned(table: Table, linked: bool = True) -> str:
    """Return a table whose columns are aligned in plain text too."""
    rows = [_heads(table), *([_place(entry, linked) for entry in row] for row in table.rows)]
    # At least 3 characters: Markdown needs a rule of `---`, or `--:` for columns that are aligned to the right.
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(table.head))]
    wordy = [table.is_wordy(column) for column in range(len(widths))]
    # A column of numbers ends in a colon, `---:`, which aligns it to the right.
    rule = ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, wordy, strict=True)]
    padded = [
        [text.ljust(width) if left else text.rjust(width) for text, width, left in zip(row, widths, wordy, strict=True)]
        for row in rows
    ]
    lines = [f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:])]
    return "\n".join(lines)


def _heads(table: Table) -> list[str]:
    """Return the heads of columns, each after its group's: Markdown has one line for both."""
    # Groups ("", 1) and ("ours", 2) become ["", "ours", "ours"].
    above = [group for group, columns in table.groups for _ in range(columns)] or [""] * len(table.head)
    return [_plain(f"{group}: {head}" if group else head) for group, head in zip(above, table.head, strict=True)]


def _place(entry: Entry, linked: bool) -> str:
    """Return the Markdown of an entry."""
    if entry.links:
        return ", ".join(f"[{_plain(words)}]({address})" if linked else words for words, address in entry.links)
    lines = entry.text.split("\n")
    text = "<br>".join(f"`{line}`" if entry.code and line else _plain(line) for line in lines)
    if not linked:
        text = "; ".join(line for line in lines)
    return f"**{text}**" if entry.bold and text and linked else text


def _plain(text: str) -> str:
    """Return text without bare pipes, which would end a table cell."""
    return text.replace("|", "\\|")
