"""The figures of the style tool on a small package whose counts are known."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "style_figures.py"
GOOD = '''"""A file."""

from typing import Protocol


class Seam(Protocol):
    """A seam."""

    def meet(self, other: int) -> int:
        """Meet the other."""


def add(first: int, second: int) -> int:
    """Add two numbers."""
    # Kept apart from the product, which overflows.
    return first + second
'''
BAD = '''"""What the file holds."""

from typing import Any, Protocol


class Seam(Protocol):
    """How things meet."""

    def meet(self, other: Any) -> int:
        """Meet the other."""


def add(first, second: int):
    # Add first second.
    return add(first, second), "video"
'''


@pytest.fixture
def figures(tmp_path):
    """Return a function that writes a file and gives the tool's exit code, table and error."""

    def call(text: str, *options: str) -> tuple[int, dict[str, float], str]:
        (tmp_path / "file.py").write_text(text)
        command = [sys.executable, str(TOOL), "--folder", str(tmp_path), *options]
        done = subprocess.run(command, capture_output=True, text=True)
        table = {line[:50].strip(): float(line[50:].split()[0]) for line in done.stdout.splitlines()}
        return done.returncode, table, done.stderr

    return call


def test_a_file_within_the_bounds_passes(figures):
    code, table, _ = figures(GOOD, "--check")
    assert code == 0
    assert table["lines"] == 16
    assert table["public docstrings, %"] == table["annotated arguments, %"] == 100
    assert table["comment lines, %"] == 10  # one of ten that are not blank


def test_each_fault_is_counted(figures):
    code, table, error = figures(BAD, "--check")
    assert code == 1 and "public docstrings, %" in error
    assert table["public docstrings, %"] == 75  # the module, the class and the method of four
    assert table["annotated arguments, %"] == pytest.approx(200 / 3, rel=1e-3)
    assert table["comments that repeat the code"] == 1
    assert table["docstrings that open with what, which, how …, %"] == pytest.approx(200 / 3, rel=1e-3)
    assert table["Any in the methods of Protocols"] == 1
    assert table["files that name a modality"] == 1


def test_long_functions_and_files_are_counted(figures):
    body = "".join(f"    first = {i}\n" for i in range(410))
    code, table, error = figures(GOOD + body, "--check")
    assert code == 1 and "files over 400 lines" in error
    assert table["files over 400 lines"] == 1 and table["lines of the longest function"] == 4 + 410
