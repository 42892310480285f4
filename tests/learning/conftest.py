"""Lets the tests of this folder import the lessons they share, and the streams of the objectives' tests."""

import sys
from pathlib import Path

import pytest

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "objectives")]


@pytest.fixture(scope="session")
def shapes_corpus() -> str:
    """A corpus of plain sounding shapes, one for all test processes and later runs: whoever comes first makes it."""
    import corpora

    return corpora.plain()


@pytest.fixture(scope="session")
def many_shapes() -> str:
    """A corpus of more and longer clips, made and kept as `shapes_corpus`."""
    import corpora

    return corpora.many()
