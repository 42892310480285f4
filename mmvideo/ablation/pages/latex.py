"""The tables of a page as LaTeX in the style of booktabs, for use in a paper."""

from __future__ import annotations

from mmvideo.ablation.pages.document import Document, Entry, Section, Table

WRITTEN = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": "$-$", "→": r"$\to$",
    "×": r"$\times$", "≥": r"$\ge$", "≤": r"$\le$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "·": r"$\cdot$",
    "<": r"$<$", ">": r"$>$", "⁻": "-", "′": "$'$", "“": "``", "”": "''", "’": "'", "…": r"\dots{}",
}  # fmt: skip
"""LaTeX for characters that are special to it or missing from its fonts."""


def latex(document: Document) -> str:
    """Return the printable tables, each a `table` environment; they need the packages booktabs and graphicx."""
    head = f"% {_line(document.title)}\n% \\usepackage{{booktabs,graphicx}}\n"
    return head + "".join(
        _table(section, table, number)
        for section in document.sections
        for number, table in enumerate(section.tables)
        if table.printed and not table.folded
    )


def _table(section: Section, table: Table, number: int) -> str:
    """Return one table."""
    columns = "".join("l" if table.is_wordy(column) else "r" for column in range(len(table.head)))
    caption = f"{section.title}: {table.title}" if table.title else section.title
    lines = [r"\begin{table}[t]", r"\centering", rf"\caption{{{escaped(caption)}.}}"]
    name = f"{section.name}-{number}" if number else section.name
    # \resizebox with \ifdim shrinks a table that is wider than the text, and leaves narrower ones at their size.
    lines += [rf"\label{{tab:{name}}}", r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *_groups(table)]
    lines += [" & ".join(map(escaped, table.head)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_place, row)) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\\[2pt]{{\footnotesize {escaped(_line(table.note))}}}"] if table.note else []
    return "\n" + "\n".join([*lines, r"\end{table}"]) + "\n"


def _groups(table: Table) -> list[str]:
    """Return the line above the head, with a rule below each group."""
    if not table.groups:
        return []
    places, rules, first = [], [], 1
    # Groups ("", 2) and ("ours", 3): two empty cells " & ", then \multicolumn{3}{c}{ours} with \cmidrule(lr){3-5}.
    for words, count in table.groups:
        places.append(rf"\multicolumn{{{count}}}{{c}}{{{escaped(words)}}}" if words else " & ".join([""] * count))
        rules += [rf"\cmidrule(lr){{{first}-{first + count - 1}}}"] if words else []
        first += count
    return [" & ".join(places) + r" \\", " ".join(rules)]


def _place(entry: Entry) -> str:
    """Return the LaTeX of an entry."""
    text = escaped(_line(entry.text.replace("\n", "; ") or ", ".join(words for words, _ in entry.links)))
    if entry.code:
        text = rf"\texttt{{{text}}}"
    return rf"\textbf{{{text}}}" if entry.bold and text else text


def escaped(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(WRITTEN.get(letter, letter) for letter in text)


def _line(text: str) -> str:
    """Return text on one line with single spaces."""
    return " ".join(text.split())
