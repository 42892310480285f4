"""Count properties that make a code base easy or hard to read, from its syntax trees.

python tools/style_figures.py              # a table of the package, with the bound of each figure
python tools/style_figures.py --check      # exit with 1 if a figure is beyond its bound, as CI does
python tools/style_figures.py --list "docstrings that open with"    # the places behind a figure
python tools/style_figures.py --folder ../other/package             # the same figures for another code base
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import io
import operator
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "mmvideo"
OPENERS = {"what", "which", "how", "whether", "where", "who", "why", "that"}
MODALITIES = {"video", "audio", "text"}
LONG_FILE, LONG_FUNCTION = 400, 60

BOUNDS = {
    "files over 400 lines": ("<=", 0),
    "functions over 60 lines": ("<=", 2),
    "public docstrings, %": (">=", 99),
    "annotated arguments, %": (">=", 99),
    "files in the largest folder": ("<=", 16),
    "comment lines, %": (">=", 4),
    "comments that repeat the code": ("<=", 0),
    "docstrings that open with what, which, how …, %": ("<=", 0.5),
    "Any in the methods of Protocols": ("<=", 0),
}
"""Bounds that the package keeps."""


@dataclasses.dataclass
class Figures:
    """Counts over all files, each with the places that it counts.

    Attributes:
      files: number of lines of each file.
      code_lines: number of non-blank lines.
      comments: places of the lines that contain only a comment.
      places: the places of each other count, as `file:line text`.
    """

    files: dict[str, int] = dataclasses.field(default_factory=dict)
    code_lines: int = 0
    comments: list[str] = dataclasses.field(default_factory=list)
    places: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def add(self, count: str, place: str) -> None:
        self.places.setdefault(count, []).append(place)

    def number(self, count: str) -> int:
        return len(self.places.get(count, ()))

    def percent(self, part: str, whole: str) -> float:
        return 100 * self.number(part) / max(self.number(whole), 1)


def read(folder: Path) -> Figures:
    """Return the figures of all Python files below a folder."""
    figures = Figures()
    for file in sorted(folder.rglob("*.py")):
        text, name = file.read_text(encoding="utf-8"), str(file.relative_to(folder))
        figures.files[name] = len(text.splitlines())
        figures.code_lines += sum(bool(line.strip()) for line in text.splitlines())
        _count_comments(figures, name, text)
        _count_nodes(figures, name, ast.parse(text))
    return figures


def table(figures: Figures) -> dict[str, float]:
    """Return each figure by its name, in the order of the table."""
    lengths = sorted(figures.files.values())
    folders = Counter(str(Path(name).parent) for name in figures.files)
    functions = sorted(int(place.rsplit(" ", 1)[1]) for place in figures.places.get("functions", ()))
    return {
        "files": len(lengths),
        "lines": sum(lengths),
        "lines of a file, median": statistics.median(lengths),
        "lines of a file, 90th percentile": _percentile(lengths, 0.9),
        "files over 400 lines": sum(length > LONG_FILE for length in lengths),
        "lines of a function, median": statistics.median(functions) if functions else 0,
        "lines of the longest function": functions[-1] if functions else 0,
        "functions over 60 lines": sum(length > LONG_FUNCTION for length in functions),
        "public docstrings, %": 100 - figures.percent("public definitions without docstring", "public definitions"),
        "annotated arguments, %": 100 - figures.percent("arguments without annotation", "arguments"),
        "files in the largest folder": max(folders.values()),
        "comment lines, %": 100 * len(figures.comments) / max(figures.code_lines, 1),
        "comments that repeat the code": figures.number("comments that repeat the code"),
        "docstrings that open with what, which, how …, %": figures.percent("docstrings that open with", "docstrings"),
        "Any in the methods of Protocols": figures.number("Any in the methods of Protocols"),
        "files that name a modality": len({p.split(":")[0] for p in figures.places.get("names of modalities", ())}),
    }


def _percentile(values: list[int], share: float) -> int:
    return values[min(int(share * len(values)), len(values) - 1)]


def _count_comments(figures: Figures, name: str, text: str) -> None:
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row = token.start[0]
        if token.type != tokenize.COMMENT or lines[row - 1].strip() != token.string:
            continue
        place = f"{name}:{row} {token.string}"
        figures.comments.append(place)
        following = next((line for line in lines[row:] if line.strip() and not line.strip().startswith("#")), "")
        if _repeats(token.string, following):
            figures.add("comments that repeat the code", place)


def _repeats(comment: str, code: str) -> bool:
    """Return whether nearly all words of a comment are also in the next line of code.

    Example: `# Add the bias.` repeats `add(bias)`; `# The bias is last, so that it is frozen.` doesn't.
    """
    said = {word for word in re.findall(r"[a-z]+", comment.lower()) if len(word) > 2 and word not in ("the", "and")}
    written = set(re.findall(r"[a-z]+", code.lower()))
    return bool(said) and said <= written


def _count_nodes(figures: Figures, name: str, tree: ast.Module) -> None:
    for node, public, protocol in _definitions(tree):
        place = f"{name}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', 'module')}"
        documented = ast.get_docstring(node)
        if public:
            figures.add("public definitions", place)
            if not documented and not _is_implied(node):
                figures.add("public definitions without docstring", place)
        if documented:
            figures.add("docstrings", place)
            if re.findall(r"[A-Za-z]+", documented)[:1] and re.findall(r"[A-Za-z]+", documented)[0].lower() in OPENERS:
                figures.add("docstrings that open with", f"{place}: {documented.splitlines()[0]}")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            figures.add("functions", f"{place} {node.end_lineno - node.lineno + 1}")
            _count_arguments(figures, place, node, protocol)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in MODALITIES:
            figures.add("names of modalities", f"{name}:{node.lineno} {node.value}")


def _definitions(
    node: ast.AST, public: bool = True, protocol: bool = False, within: bool = False
) -> Iterator[tuple[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, bool, bool]]:
    """Yield modules, classes and functions, each with flags: public, and part of a Protocol."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        public = public and not within and not getattr(node, "name", "").startswith("_")
        yield node, public, protocol
        within = within or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.ClassDef):
            protocol = any("Protocol" in ast.unparse(base) for base in node.bases)
    for child in ast.iter_child_nodes(node):
        yield from _definitions(child, public, protocol, within)


def _is_implied(node: ast.AST) -> bool:
    """Return whether a definition needs no docstring: an empty module, an overload, a property's setter."""
    if isinstance(node, ast.Module):
        return not node.body
    return any(ast.unparse(one).endswith(("overload", ".setter")) for one in node.decorator_list)


def _count_arguments(figures: Figures, place: str, node: ast.FunctionDef, protocol: bool) -> None:
    given = node.args
    for one in [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]:
        if one is None or one.arg in ("self", "cls"):
            continue
        figures.add("arguments", f"{place} {one.arg}")
        if one.annotation is None:
            figures.add("arguments without annotation", f"{place} {one.arg}")
    annotations = [one for one in ast.walk(given) if isinstance(one, ast.Name) and one.id == "Any"]
    returned = [one for one in ast.walk(node.returns)] if node.returns else []
    if protocol and (annotations or any(isinstance(one, ast.Name) and one.id == "Any" for one in returned)):
        figures.add("Any in the methods of Protocols", place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=PACKAGE, help="the code to count (default: the package)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a figure is beyond its bound")
    parser.add_argument("--list", default="", metavar="WORDS", help="print the places of counts whose name has WORDS")
    arguments = parser.parse_args()
    figures = read(arguments.folder)
    if arguments.list:
        for count, places in figures.places.items():
            if arguments.list in count:
                print(*places, sep="\n")
        return 0
    beyond = []
    for name, value in table(figures).items():
        sign, bound = BOUNDS.get(name, ("", 0))
        kept = not sign or {"<=": operator.le, ">=": operator.ge}[sign](value, bound)
        beyond += [] if kept else [name]
        print(f"{name:<50} {value:>10.4g}  {f'{sign} {bound}' if sign else '':<8}{'' if kept else 'BEYOND ITS BOUND'}")
    if beyond and arguments.check:
        print(f"beyond their bounds: {', '.join(beyond)}; `--list WORDS` names the places", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
