"""Classification by class names, against prompts embedded one by one."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx

from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.evaluation.embeddings import embed_corpus
from mmvideo.evaluation.retrieval.texts import text_batches
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.zero_shot import PROMPTS, ZeroShotEvaluator, mean_direction
from mmvideo.input.pipeline import Batches
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import MaskedPatches
from mmvideo.objectives.learner import Learner


def test_scores_are_cosines_to_the_mean_of_prompts(matcher, batches):
    kinds = ("visual", "audio")
    result = ZeroShotEvaluator(batches, kinds, "shapes", "test").run(EvaluatedModel(matcher))
    found = embed_corpus(matcher, batches)
    for kind in kinds:
        names = batches.classes[kind]
        truth = [names[number] for number in found.labels[kind]]
        means = []
        for name in names:
            own = [embed_corpus(matcher, text_batches(batches, [prompt.format(name)])) for prompt in PROMPTS]
            mean = np.mean([one.vectors["text"][0] for one in own], axis=0)
            means.append(mean / np.linalg.norm(mean))
        for group in ("video", "audio", "video+audio"):
            scores = found.vectors[group] @ np.array(means).T
            answers = [names[place] for place in scores.argmax(axis=1)]
            right = [answer == own for answer, own in zip(answers, truth, strict=True)]
            assert result.metrics[f"{kind}/{group}/top1"] == pytest.approx(np.mean(right))
            assert result.metrics[f"{kind}/{group}/clips"] == 9 and result.metrics[f"{kind}/{group}/left_out"] == 0
            for row, answer, own, score in zip(result.predictions, answers, truth, scores, strict=True):
                assert row["truth"][kind] == own
                told = row["scores"][f"{kind}/{group}"]
                assert next(iter(told)) == answer
                assert told[answer] == pytest.approx(score.max(), abs=2e-5)
    assert result.protocol["prompts"] == list(PROMPTS)
    assert not any("text" in name.split("/")[1] for name in result.metrics)


def test_the_mean_of_directions_is_one():
    vectors = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [-1.0, 0.0]]])
    np.testing.assert_allclose(mean_direction(vectors), [[np.sqrt(0.5)] * 2, [0.0, 0.0]])


def test_underscores_are_spaces(batches, monkeypatch):
    monkeypatch.setattr(batches, "classes", {"act": ["play_flute", "run"]})
    monkeypatch.setattr(batches, "annotations", Annotations(single=("act",)))
    shown = ZeroShotEvaluator(batches, ("act",), "shapes", "test", prompts=("{}", "someone who {}s"))
    words = [captions[0] for captions in shown._text_batches.corpus.all_captions()]
    assert words == ["play flute", "someone who play flutes", "run", "someone who runs"]


def test_clips_without_the_media_are_left_out(matcher, config, batches):
    seen = Batches(config, masked=False, train=False, modalities=("video",), assets=batches.assets())
    metrics = ZeroShotEvaluator(seen, ("visual",), "shapes", "test").run(EvaluatedModel(matcher)).metrics
    assert metrics["visual/video/clips"] == 9
    assert not any(name.startswith(("visual/audio", "visual/video+audio")) for name in metrics)


def test_what_is_wrong_is_told(matcher, batches, config):
    with pytest.raises(ValueError, match="evaluation.prompts 'a film' must have exactly one place for the class name"):
        ZeroShotEvaluator(batches, ("visual",), "shapes", "test", prompts=("{}", "a film"))
    with pytest.raises(ValueError, match="evaluation.prompts is empty"):
        ZeroShotEvaluator(batches, ("visual",), "shapes", "test", prompts=())
    with pytest.raises(ValueError, match="evaluation.zero_shot names the label 'mood', which shapes lacks; it has: "):
        ZeroShotEvaluator(batches, ("mood",), "shapes", "test")
    model = Model(depth=1, width=16, heads=2, feed_forward=32, fusion=Fusion("late"), compute="float32")
    blind = Learner(model, batches.spec, {"masked": MaskedPatches()}, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="the run embeds no text"):
        ZeroShotEvaluator(batches, ("visual",), "shapes", "test").run(EvaluatedModel(blind))
