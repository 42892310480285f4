"""Each objective alone makes features of sounding shapes from which more can be read than from random weights.

What is read by a linear probe, in features where the modality has met no other: the motion from the picture, or the
melody and instrument from the sound.
"""

import jax
import numpy as np
import pytest
from flax import nnx
from lessons import decoded, settings, teach

from mmvideo.evaluation.probes import linear_probe
from mmvideo.input.config import Masking, Text
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.objectives import Captioning, Contrastive, MaskedPatches, MaskedText
from mmvideo.objectives.learner import Learner

pytestmark = pytest.mark.slow

MODEL = Model(
    depth=3,
    width=64,
    heads=4,
    feed_forward=256,
    compute="float32",
    position="sincos",
    fusion=Fusion("mid", 2, text="causal"),
    decoder=Decoder(1, 48, 4),
)
MARGIN = 0.02
"""Probe accuracy above that of random weights that each objective must reach."""

OBJECTIVES = {
    # name: the objective, how many steps, and what is read
    "contrastive": (Contrastive(pairs=("video-text",), width=64), 120, "visual"),
    "sigmoid": (Contrastive(pairs=("video-text",), form="sigmoid", width=64), 120, "visual"),
    "mil_nce": (Contrastive(pairs=("video-text",), form="mil_nce", width=64), 120, "visual"),
    "masked_text": (MaskedText(), 120, "visual"),
    "captioning": (Captioning(), 120, "visual"),
    "masked_patches": (MaskedPatches(), 250, "audio"),
}


@pytest.fixture(scope="module")
def lesson(shapes_corpus):
    """Masked clips to learn from, the first of them whole, and held-out ones, with picture, sound and two captions."""
    config = settings(
        shapes_corpus,
        text=Text(length=32, captions=2, begin=True),
        masking=Masking(video=0.5, video_kind="random", audio=0.5, text=0.3),
    )
    known = decoded(config)
    del known.batches[24:]
    return decoded(config, masked=True), known, decoded(config, split="test")


def read(learner: Learner, known, test) -> dict[str, float]:
    """Accuracy of a linear probe on what each modality shows."""
    graph, state = nnx.split(learner)
    outputs = jax.jit(lambda state, stream: nnx.merge(graph, state).features(stream))

    def features(clips, group: str, label: str) -> tuple[np.ndarray, np.ndarray]:
        vectors, classes = [], []
        for stream in clips.batches:
            vector, present = jax.tree.map(np.asarray, outputs(state, stream)[group])
            vectors.append(vector[present])
            classes.append(stream.clips.labels[label][present])
        return np.concatenate(vectors), np.concatenate(classes)

    return {
        label: linear_probe(*features(known, group, label), *features(test, group, label)).metrics["accuracy"]
        for group, label in (("video", "visual"), ("audio", "audio"))
    }


@pytest.fixture(scope="module")
def random(lesson):
    """What is read from random weights."""
    masked, known, test = lesson
    learner = Learner(MODEL, masked.spec, {"it": OBJECTIVES["contrastive"][0]}, rngs=nnx.Rngs(0))
    learner.eval()
    return read(learner, known, test)


@pytest.mark.parametrize("objective, steps, label", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_objective_alone_makes_better_features_than_chance(lesson, random, objective, steps, label):
    masked, known, test = lesson
    found = read(teach(MODEL, {"it": objective}, masked, steps), known, test)
    assert found[label] >= random[label] + MARGIN
