"""Classes and numbers of whole clips: predictions of a real learner, averaged over views, scored and stored."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from mmvideo.evaluation.inference import Predictions
from mmvideo.evaluation.multi_view import mean_over_views, views_protocol
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.classification import ClassificationEvaluator, RegressionEvaluator
from mmvideo.input.config import Packing
from mmvideo.input.pipeline import Batches
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Classification, Regression
from mmvideo.objectives.learner import Learner


@pytest.fixture(scope="module")
def classifier(batches) -> Learner:
    model = Model(depth=1, width=32, heads=2, feed_forward=32, fusion=Fusion("early"), compute="float32")
    objectives = {
        "visual": Classification("visual", 6, modalities=("video",), after_fusion=True),
        "audio": Classification("audio", 16, modalities=("audio",), after_fusion=True),
    }
    return Learner(model, batches.spec, objectives, rngs=nnx.Rngs(0))


def test_a_head_of_video_sees_the_same_whatever_is_heard(batches, config):
    """To the bit with noise for the audio of real clips, and but for rounding where they are shown without it."""
    model = Model(depth=2, width=32, heads=2, feed_forward=32, fusion=Fusion("mid", 1), compute="float32")
    learner = Learner(model, batches.spec, {"it": Classification("visual", 6, ("video",))}, rngs=nnx.Rngs(0))
    stream = batches.batch(0)
    noise = np.random.default_rng(0).normal(size=stream.content["audio"].shape).astype(np.float32)
    noisy = dataclasses.replace(stream, content=stream.content | {"audio": noise})
    silent = Batches(config, masked=False, train=False, modalities=("video",)).batch(0)
    told = [by_clip(learner.predict(one)["it"]["logits"], one) for one in (stream, noisy, silent)]
    assert set(told[0]) & set(told[2])
    for clip, logits in told[0].items():
        np.testing.assert_array_equal(logits, told[1][clip])
    for clip in set(told[0]) & set(told[2]):
        np.testing.assert_allclose(told[0][clip], told[2][clip], atol=1e-5)


def by_clip(logits, stream):
    """The logits of every clip of a batch, by its number."""
    number = stream.clips.clip_index
    return {int(number[at]): np.asarray(logits)[at] for at in zip(*np.nonzero(number >= 0), strict=True)}


def evaluator(batches, **options) -> ClassificationEvaluator:
    return ClassificationEvaluator(batches, batches.classes, "shapes", "test", **options)


def test_scores_are_those_of_the_learner_by_clip(classifier, batches):
    result = evaluator(batches).run(EvaluatedModel(classifier))
    stream = batches.batch(0)
    logits = np.asarray(classifier.predict(stream)["visual"]["logits"])
    classes = batches.classes["visual"]
    seen = 0
    for row, slot in zip(*np.nonzero(stream.clips.clip_index >= 0), strict=True):
        told = result.predictions[int(stream.clips.clip_index[row, slot])]
        wanted = softmax(logits[row, slot])
        assert told["id"] == batches.clip_id(int(stream.clips.clip_index[row, slot]))
        assert told["truth"]["visual"] == classes[int(stream.clips.labels["visual"][row, slot])]
        assert next(iter(told["scores"]["visual"])) == classes[int(wanted.argmax())]
        for name, score in told["scores"]["visual"].items():
            assert score == pytest.approx(wanted[classes.index(name)], abs=1e-5)
        seen += 1
    assert seen and result.clips == 9 == len(result.predictions)


def test_metrics_agree_with_the_predictions(classifier, batches):
    result = evaluator(batches, actions=[("visual", "audio")]).run(EvaluatedModel(classifier))
    right = {
        name: [next(iter(row["scores"][name])) == row["truth"][name] for row in result.predictions]
        for name in ("visual", "audio")
    }
    for name, hits in right.items():
        assert result.metrics[f"{name}/top1"] == pytest.approx(np.mean(hits))
    both = np.logical_and(right["visual"], right["audio"])
    assert result.metrics["visual+audio/top1"] == pytest.approx(both.mean())
    assert np.sum(result.details["visual"]["confusion"]) == 9
    assert result.protocol["views"] == 1


def test_an_action_of_an_unknown_objective_is_refused(classifier, batches):
    with pytest.raises(ValueError, match="no classification objective 'verb'; there are: visual, audio"):
        evaluator(batches, actions=[("verb", "audio")]).run(EvaluatedModel(classifier))


def test_a_corpus_of_other_classes_is_refused(classifier, batches):
    few = ClassificationEvaluator(batches, {"visual": ["a"] * 7, "audio": ["b"] * 16}, "other", "test")
    with pytest.raises(ValueError, match="objective 'visual' has 6 classes, but other has 7"):
        few.run(EvaluatedModel(classifier))


def answers(views: list[int], **more) -> Predictions:
    number = np.repeat(np.arange(len(views)), views)
    view = np.concatenate([np.arange(count) for count in views])
    n = len(number)
    return Predictions(
        number, view, np.zeros(n), np.ones((n, 3), bool), more.get("labels", {}), more.get("targets", {}), {}
    )


def test_views_are_averaged_by_clip_and_unknown_ones_left_out():
    found = answers([2, 3, 1])
    values = np.array([[1.0], [3.0], [1.0], [2.0], [6.0], [np.nan]])
    known = np.array([True, True, True, False, True, False])
    mean, has = mean_over_views(found, values, known)
    np.testing.assert_allclose(mean[:2, 0], [2.0, 3.5])
    assert has.tolist() == [True, True, False]
    assert views_protocol(found)["views"] == "1 to 3, by the length of the clip"
    assert views_protocol(answers([2, 2]))["views"] == 2


class Told(EvaluatedModel):
    """A subject whose answers are given."""

    def __init__(self, objectives, found):
        self.learner, self._found = types.SimpleNamespace(objectives=objectives), found

    def answers(self, batches, ask):
        return self._found


BATCHES = types.SimpleNamespace(clip_id=lambda number: f"clip-{number}")


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_probabilities_and_logits_are_averaged_as_the_protocol_says(average):
    """Two weak views for class 1 and one very sure one for class 0: only the mean of logits follows the sure one."""
    logits = np.array([[0.0, 1.0], [0.0, 1.0], [9.0, 0.0]])
    found = answers([3], labels={"kind": np.zeros(3, np.int64)})
    found.answers["head"] = {"logits": logits, "known": np.ones(3, bool)}
    told = Told({"head": Classification("kind", 2)}, found)
    result = ClassificationEvaluator(BATCHES, {"kind": ["a", "b"]}, "set", "test", average).run(told)
    scores = result.predictions[0]["scores"]["head"]
    wanted = softmax(logits, axis=1).mean(axis=0) if average == "probabilities" else softmax(logits.mean(axis=0))
    assert scores["a"] == pytest.approx(wanted[0], abs=1e-6)
    assert result.protocol["views"] == 3


def test_several_labels_and_numbers_come_from_targets():
    targets = {"events": np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]]), "mood": np.array([[1.0], [-2.0], [0.5]])}
    found = answers([1, 1, 1], targets=targets)
    known = np.array([True, True, True])
    found.answers["tags"] = {"logits": np.array([[2.0, -2.0], [-2.0, 2.0], [0.0, 0.0]]), "known": known}
    found.answers["mood"] = {"value": np.array([0.5, -2.0, 9.0]), "known": np.array([True, True, False])}
    objectives = {
        "tags": Classification("events", 2, form="sigmoid"),
        "mood": Regression("mood", range=(-3.0, 3.0)),
    }
    told = Told(objectives, found)
    tags = ClassificationEvaluator(BATCHES, {"events": ["dog", "cat"]}, "set", "test").run(told)
    assert tags.metrics["tags/mAP"] == 1.0 and tags.metrics["tags/left_out"] == 1
    assert [row["truth"]["tags"] for row in tags.predictions] == [["dog"], ["cat"], None]
    numbers = RegressionEvaluator(BATCHES, "set", "test").run(told)
    assert numbers.metrics["mood/mae"] == pytest.approx(0.25)
    assert numbers.metrics["mood/left_out"] == 1 and "mood/acc7" in numbers.metrics


def test_jitted_answers_do_not_depend_on_the_batch(classifier, batches, config):
    other = Batches(
        dataclasses.replace(config, packing=Packing(rows=2, tokens=140, clips=2)), masked=False, train=False
    )
    one, two = (evaluator(b).run(EvaluatedModel(classifier)) for b in (batches, other))
    for a, b in zip(one.predictions, two.predictions, strict=True):
        assert a["id"] == b["id"]
        np.testing.assert_allclose(*([*row["scores"]["audio"].values()] for row in (a, b)), atol=1e-5)
