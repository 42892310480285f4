"""A small corpus of shapes, and a small learner on it."""

from __future__ import annotations

import pytest
from flax import nnx

from mmvideo.datasets.build import build
from mmvideo.datasets.shapes import ShapesConfig
from mmvideo.datasets.shapes.write import write_shapes
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, Matching
from mmvideo.objectives.learner import Learner


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> str:
    """Fourteen clips to train on and nine to test, with picture, sound and words."""
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(
        folder / "clips", ShapesConfig(size=32, shortest=1.6, longest=1.8), {"train": 14, "test": 9}, processes=1
    )
    build(folder / "clips", folder / "corpus", processes=1, tokenizer_vocabulary=60, progress=False)
    return str(folder / "corpus")


@pytest.fixture(scope="session")
def config(corpus) -> Input:
    return Input(
        sources=(Source(corpus, "test"),),
        video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
        audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
        text=Text(length=16),
        masking=Masking(video=0.5, video_kind="random", audio=0.5),
        packing=Packing(rows=4, tokens=80, clips=3),
        threads=1,
        prefetch=2,
    )


@pytest.fixture(scope="session")
def batches(config) -> Batches:
    return Batches(config, masked=False, train=False)


@pytest.fixture(scope="session")
def learner(batches) -> Learner:
    model = Model(
        depth=2, width=32, heads=2, feed_forward=64, fusion=Fusion("mid", layer=1), compute="float32",
        decoder=Decoder(1, 16, 2),
    )  # fmt: skip
    objectives = {"contrastive": Contrastive(width=16), "masked_patches": MaskedPatches(target="raw")}
    return Learner(model, batches.spec, objectives, rngs=nnx.Rngs(0))


@pytest.fixture(scope="session")
def matcher(batches) -> Learner:
    """A learner that compares single and joint media with text, and judges pairs of them."""
    model = Model(depth=2, width=32, heads=2, feed_forward=64, fusion=Fusion("mid", layer=1), compute="float32")
    objectives = {
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video+audio-text"), width=16),
        "matching": Matching("video+audio-text"),
    }
    return Learner(model, batches.spec, objectives, rngs=nnx.Rngs(1))
