"""Lets the tests of this folder import the lessons they share, and the streams of the objectives' tests."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "objectives")]


@pytest.fixture(scope="session")
def shapes_corpus(tmp_path_factory) -> str:
    """A corpus of plain sounding shapes: 5000 clips to learn from, 800 held out, each of at most two seconds.

    One for all test processes: whoever comes first makes it.
    """
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    plain = ShapesConfig(size=32, difficulty=0.0, longest=2.0)
    with open(folder / "shapes.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Both go on where they were left: nothing is made twice.
        write_shapes(folder / "shapes/clips", plain, splits={"train": 5000, "test": 800}, processes=2)
        build(folder / "shapes/clips", folder / "shapes/corpus", tokenizer_vocabulary=256, processes=2, progress=False)
    return str(folder / "shapes/corpus")
