"""Tables of results as LaTeX, in the style of booktabs, to be put into a paper."""

from __future__ import annotations

from mmvideo.ablation.pages.document import Document, Entry, Section, Table

WRITTEN = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": "$-$", "→": r"$\to$",
    "×": r"$\times$", "≥": r"$\ge$", "≤": r"$\le$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "·": r"$\cdot$",
    "<": r"$<$", ">": r"$>$", "⁻": "-", "′": "$'$", "“": "``", "”": "''", "’": "'", "…": r"\dots{}",
}  # fmt: skip
"""How characters are written that mean something to LaTeX, or that its fonts may lack."""


def latex(document: Document) -> str:
    """The tables that are of use in a paper, each a `table` of its own; needs the packages booktabs and graphicx."""
    head = f"% {_line(document.title)}\n% \\usepackage{{booktabs,graphicx}}\n"
    return head + "".join(
        _table(section, table, number)
        for section in document.sections
        for number, table in enumerate(section.tables)
        if table.printed and not table.folded
    )


def _table(section: Section, table: Table, number: int) -> str:
    columns = "".join("l" if table.is_wordy(column) else "r" for column in range(len(table.head)))
    caption = f"{section.title}: {table.title}" if table.title else section.title
    lines = [r"\begin{table}[t]", r"\centering", rf"\caption{{{escaped(caption)}.}}"]
    name = f"{section.name}-{number}" if number else section.name
    lines += [rf"\label{{tab:{name}}}", r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *_groups(table)]
    lines += [" & ".join(map(escaped, table.head)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_place, row)) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\\[2pt]{{\footnotesize {escaped(_line(table.note))}}}"] if table.note else []
    return "\n" + "\n".join([*lines, r"\end{table}"]) + "\n"


def _groups(table: Table) -> list[str]:
    """The line above the head, with a rule below each group."""
    if not table.groups:
        return []
    places, rules, first = [], [], 1
    for words, count in table.groups:
        places.append(rf"\multicolumn{{{count}}}{{c}}{{{escaped(words)}}}" if words else " & ".join([""] * count))
        rules += [rf"\cmidrule(lr){{{first}-{first + count - 1}}}"] if words else []
        first += count
    return [" & ".join(places) + r" \\", " ".join(rules)]


def _place(entry: Entry) -> str:
    text = escaped(_line(entry.text.replace("\n", "; ") or ", ".join(words for words, _ in entry.links)))
    if entry.code:
        text = rf"\texttt{{{text}}}"
    return rf"\textbf{{{text}}}" if entry.bold and text else text


def escaped(text: str) -> str:
    """Words as LaTeX prints them."""
    return "".join(WRITTEN.get(letter, letter) for letter in text)


def _line(text: str) -> str:
    return " ".join(text.split())
