"""Captions and answers that a real model generates: each clip once, scored and stored, with the facts they state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from flax import nnx

from mmvideo.datasets.shapes import known_facts
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.captioning import CaptioningEvaluator, evenly, shares
from mmvideo.input.pipeline import Batches
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Captioning
from mmvideo.objectives.generation.config import Decoding
from mmvideo.objectives.learner import Learner


@pytest.fixture(scope="module")
def wordless(config) -> Batches:
    begin = dataclasses.replace(config, text=dataclasses.replace(config.text, begin=True))
    return Batches(begin, masked=False, train=False, modalities=("video", "audio"))


@pytest.fixture(scope="module")
def writer(wordless) -> EvaluatedModel:
    model = Model(
        depth=2, width=32, heads=2, feed_forward=64, compute="float32", fusion=Fusion("mid", 1, text="causal")
    )
    return EvaluatedModel(Learner(model, wordless.spec, {"captioning": Captioning()}, rngs=nnx.Rngs(0)))


def evaluator(batches: Batches, **options) -> CaptioningEvaluator:
    references = batches.corpus.all_captions()
    facts = known_facts([own[0] for own in references])
    return CaptioningEvaluator(batches, "captioning", references, "shapes", "test", facts=facts, **options)


def test_every_clip_gets_one_caption(writer, wordless):
    result = evaluator(wordless, together=[("colour", "shape")]).run(writer)
    assert [row["id"] for row in result.predictions] == [wordless.clip_id(number) for number in range(9)]
    assert result.clips == 9 == result.metrics["clips"] and result.metrics["without_media"] == 0
    assert {"bleu_4", "cider_d", "facts/colour", "facts/colour+shape", "facts/all"} <= result.metrics.keys()
    for row in result.predictions:
        assert row["log_probability"] < 0 and len(row["truth"]) == 3 and "cider_d" in row["scores"]
    assert len(result.details["samples"]) == 9


def test_decoding_is_what_was_asked_for(writer, wordless):
    drawn = evaluator(wordless, decoding=Decoding(method="sample", top_k=1)).run(writer)
    greedy = evaluator(wordless).run(writer)
    assert [row["caption"] for row in drawn.predictions] == [row["caption"] for row in greedy.predictions]
    assert drawn.protocol["decoding"]["method"] == "sample"


def test_shares_of_facts():
    right = [{"colour": True, "shape": True}, {"colour": True, "shape": False}, {"colour": False}]
    found = shares(right, [("colour", "shape")])
    assert found["facts/colour"] == pytest.approx(2 / 3) and found["facts/shape"] == 0.5
    assert found["facts/colour+shape"] == found["facts/all"] == 0.5, "of the two that should say both"
    assert shares([]) == {}


def test_only_captions_of_shapes_are_read():
    caption = "a red circle climbs while a bell plays a rising tune"
    assert known_facts([caption])(caption) == {
        "shape": "circle", "colour": "red", "motion": "climbs", "timbre": "bell", "melody": "rising",
    }  # fmt: skip
    assert known_facts([caption, "a dog barks"]) is None and known_facts([]) is None


def test_evenly_takes_both_ends():
    assert evenly(list(range(100)), 3) == [0, 50, 99] and evenly([1], 5) == [1] and evenly([], 5) == []
    assert np.all(np.diff(evenly(list(range(30)), 12)) > 0)
