"""Each objective alone makes features of sounding shapes from which more can be read than from random weights.

What is read by the nearest neighbours, in features where the modality has met no other: the motion from the picture, or
the melody and instrument from the sound.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest
from flax import nnx
from lessons import SEED, SLOWER, decoded, finer, settings, teach

from mmvideo.evaluation.tasks.probes import knn_probe
from mmvideo.input.config import Input, Masking, Packing, Text
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.objectives import (
    Captioning,
    Contrastive,
    ContrastiveSpans,
    Distillation,
    LatentPrediction,
    MaskedPatches,
    MaskedText,
    Matching,
    Synchrony,
)
from mmvideo.objectives.learner import Learner

pytestmark = pytest.mark.slow(reason="learns from real clips")

MODEL = Model(
    depth=3,
    width=48,
    heads=4,
    feed_forward=96,
    compute="float32",
    position="sincos",
    fusion=Fusion("mid", 2, text="causal"),
    decoder=Decoder(1, 32, 4),
)
MARGIN = 0.03
"""Probe accuracy above that of random weights that each objective must reach.

Measured on 2026-11-30 with seed 0 alone (chance 0.17, random weights 0.490, so 0.520 is asked for; the ceiling is 1):
contrastive 0.561, sigmoid 0.545, mil_nce 0.590, masked_text 0.566, captioning 0.570, matching 0.607,
distillation 0.568, synchrony 0.631; spans, of the sound, 0.807 (random weights 0.734, 0.764 asked for). Two more
seeds are still to be measured (`lessons.SEED`).
"""
GROUPS = {"visual": "video", "audio": "audio"}
"""The modality whose features each label is read from."""

OBJECTIVES = {
    # name: the objective, how many steps, and what is read
    "contrastive": (Contrastive(pairs=("video-text",), width=48), 80, "visual"),
    "sigmoid": (Contrastive(pairs=("video-text",), form="sigmoid", width=48), 80, "visual"),
    "mil_nce": (Contrastive(pairs=("video-text",), form="mil_nce", width=48), 80, "visual"),
    "masked_text": (MaskedText(), 100, "visual"),
    "captioning": (Captioning(), 80, "visual"),
    "matching": (Matching(negatives="uniform"), 100, "visual"),
    "spans": (ContrastiveSpans(audio=1.0, width=48), 80, "audio"),
}
WIDER = dataclasses.replace(MODEL, width=64, feed_forward=256, decoder=Decoder(1, 48, 4))
LARGER = {
    "masked_patches": (MaskedPatches(), 150),
    "latent_prediction": (LatentPrediction(predictor=Decoder(1, 48, 4, sees="clip"), decay=0.95), 200),
}
"""Lessons that failed on the plain corpus and keep their former settings (2026-11-30, seed 0, width 48): random weights
told 0.734 of the sound there, masked patches 0.727 after 100 steps, latent prediction 0.670 after 120. Why is unknown.
"""
HALF, WHOLE = Packing(rows=16, tokens=104, clips=2), Packing(rows=16, tokens=134, clips=2)
"""For clips of which half is hidden, and of which nothing is."""


def prepared(corpus: str, packing: Packing, shown: Callable[..., Input] = settings) -> Input:
    """Picture, two captions, and sound in strips of 80 ms: of the longer ones random weights leave little to learn."""
    config = shown(
        corpus,
        text=Text(length=32, captions=2, begin=True),
        masking=Masking(video=0.5, video_kind="random", audio=0.5, text=0.3),
        packing=packing,
    )
    return dataclasses.replace(config, audio=dataclasses.replace(config.audio, patch=(4, 64)))


@pytest.fixture(scope="module")
def lesson(shapes_corpus):
    """Masked clips to learn from, the first of them whole, and held-out ones, with picture, sound and two captions."""
    masked, whole = prepared(shapes_corpus, HALF), prepared(shapes_corpus, WHOLE)
    return decoded(masked, masked=True), decoded(whole, first=20), decoded(whole, split="test")


def vectors(learner: Learner, clips, group: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pooled features of every batch, and which clips have them."""
    graph, state = nnx.split(learner)
    outputs = jax.jit(lambda state, stream: nnx.merge(graph, state).features(stream)[group])
    return [jax.tree.map(np.asarray, outputs(state, stream)) for stream in clips.batches]


def read(learner: Learner, known, test, label: str) -> float:
    """Accuracy of a nearest-neighbour probe on what a modality shows."""

    def features(clips) -> tuple[np.ndarray, np.ndarray]:
        found = vectors(learner, clips, GROUPS[label])
        present = np.concatenate([present for _, present in found])
        classes = np.concatenate([stream.clips.labels[label] for stream in clips.batches])
        return np.concatenate([vector for vector, _ in found])[present], classes[present]

    return knn_probe(*features(known), *features(test)).metrics["accuracy"]


@pytest.fixture(scope="module")
def random(lesson):
    """What is read from random weights."""
    masked, known, test = lesson
    learner = Learner(MODEL, masked.spec, {"it": OBJECTIVES["contrastive"][0]}, rngs=nnx.Rngs(0))
    learner.eval()
    return {label: read(learner, known, test, label) for label in GROUPS}


@pytest.mark.parametrize("objective, steps, label", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_objective_alone_makes_better_features_than_chance(lesson, random, objective, steps, label):
    masked, known, test = lesson
    found = read(teach(MODEL, {"it": objective}, masked, steps), known, test, label)
    print(f"{label} read from random weights {random[label]:.3f}, after the lesson {found:.3f}")
    assert found >= random[label] + MARGIN


@pytest.fixture(scope="module")
def larger_lesson(many_shapes):
    """As `lesson`, of the larger corpus."""
    masked = prepared(many_shapes, Packing(rows=16, tokens=112, clips=2), finer)
    whole = prepared(many_shapes, Packing(rows=16, tokens=164, clips=2), finer)
    return decoded(masked, masked=True, first=80), decoded(whole, first=24), decoded(whole, split="test")


# In --all, test_objectives_learn.py (masked patches of a moving slope) and tests/objectives/test_latent.py take these
# paths.
@pytest.mark.nightly
@pytest.mark.parametrize("objective, steps", LARGER.values(), ids=LARGER)
def test_an_objective_on_sound_alone_makes_better_features_than_chance(larger_lesson, objective, steps):
    masked, known, test = larger_lesson
    learner = Learner(WIDER, masked.spec, {"it": OBJECTIVES["contrastive"][0]}, rngs=nnx.Rngs(0))
    learner.eval()
    before = read(learner, known, test, "audio")
    found = read(teach(WIDER, {"it": objective}, masked, steps, rate=SLOWER), known, test, "audio")
    print(f"audio read from random weights {before:.3f}, after the lesson {found:.3f}")
    assert found >= before + MARGIN


def test_distillation_alone_hands_on_what_its_teacher_saw(lesson, random):
    """The teacher learned from captions; the student sees its vectors of the clips, and no caption."""
    masked, known, test = lesson
    objective, steps, _ = OBJECTIVES["contrastive"]
    teacher = teach(MODEL, {"it": objective}, masked, steps)
    batches = []
    for stream, (vector, present) in zip(masked.batches, vectors(teacher, masked, "video"), strict=True):
        known_vectors = {"video": np.where(present[..., None], vector, np.nan).astype(np.float32)}
        clips = dataclasses.replace(stream.clips, teacher_embeddings=known_vectors)
        batches.append(dataclasses.replace(stream, clips=clips))
    student = teach(
        MODEL, {"it": Distillation(MODEL.width)}, dataclasses.replace(masked, batches=batches), 80, seed=SEED + 1
    )
    found = read(student, known, test, "visual")
    print(f"visual read from random weights {random['visual']:.3f}, after the lesson {found:.3f}")
    assert found >= random["visual"] + MARGIN


def test_synchrony_alone_looks_and_listens(lesson, random, shapes_corpus):
    """Half of the clips have their sound shifted, and nothing else is told."""
    _, known, test = lesson
    config = prepared(shapes_corpus, WHOLE)
    audio = dataclasses.replace(config.audio, misaligned=0.5, shift=0.5)
    shifted = decoded(dataclasses.replace(config, audio=audio))
    learner = teach(MODEL, {"it": Synchrony()}, shifted, 120)
    found = read(learner, known, test, "visual")
    print(f"visual read from random weights {random['visual']:.3f}, after the lesson {found:.3f}")
    assert found >= random["visual"] + MARGIN
