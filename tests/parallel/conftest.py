"""A tiny model and a stream of eight rows for the tests of this folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from flax import nnx

from mmvideo.model.config import Fusion, Model
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer


@pytest.fixture(scope="session")
def streams():
    """The stream builder of the model's tests."""
    spec = importlib.util.spec_from_file_location("streams", Path(__file__).parents[1] / "model" / "streams.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def stream(streams):
    """Eight rows of one to three clips, of lengths that eight devices divide."""
    rows = [[streams.make_clip(10 * row + slot, audio=row % 3) for slot in range(1 + row % 3)] for row in range(8)]
    return streams.make_stream(rows, length=48, budget=32)


@pytest.fixture(scope="session")
def build(streams):
    """Return a function that builds a model whose split axes two devices divide."""

    def make(**overrides) -> MultimodalTransformer:
        settings = dict(depth=2, width=32, heads=2, feed_forward=64, compute="float32", fusion=Fusion("mid", 1))
        return MultimodalTransformer(Model(**(settings | overrides)), streams.SPEC, rngs=nnx.Rngs(0))

    return make
