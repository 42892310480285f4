"""Lets the tests of this folder import the lessons they share, and the streams of the objectives' tests."""

import sys
from pathlib import Path

import pytest

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "objectives")]


@pytest.fixture(scope="session")
def shapes_corpus(tmp_path_factory) -> str:
    """A corpus of plain sounding shapes: 6000 clips to learn from, 800 held out, each of at most two seconds."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    folder = tmp_path_factory.mktemp("shapes")
    plain = ShapesConfig(size=32, difficulty=0.0, longest=2.0)
    write_shapes(folder / "clips", plain, splits={"train": 6000, "test": 800}, processes=2)
    build(folder / "clips", folder / "corpus", tokenizer_vocabulary=256, processes=2, progress=False)
    return str(folder / "corpus")
