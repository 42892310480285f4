"""The stream builder and a tiny model for the tests of this folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from flax import nnx

from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer

# Modules of references that several tests share are imported from this folder.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def streams():
    """The module `streams.py` in this folder."""
    spec = importlib.util.spec_from_file_location("streams", Path(__file__).parent / "streams.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny():
    """Return a function that builds the config of a three-layer model with a stage of each kind, with overrides."""

    def make(**overrides) -> Model:
        settings = dict(depth=3, width=24, heads=2, feed_forward=48, compute="float32", fusion=Fusion("mid", 2, 1))
        settings["decoder"] = Decoder(depth=1, width=12, heads=2)
        return Model(**(settings | overrides))

    return make


@pytest.fixture(scope="session")
def build(streams, tiny):
    """Return a function that builds a model of such a config."""

    def make(**overrides) -> MultimodalTransformer:
        return MultimodalTransformer(tiny(**overrides), streams.SPEC, rngs=nnx.Rngs(0))

    return make
