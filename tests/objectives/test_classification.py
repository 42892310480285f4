"""Classification against a slow float64 reference, with its gradient: its forms, poolings, mixed clips and dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Classification
from mmvideo.objectives.learner import Learner
from mmvideo.stream import MixupTargets

NO_TRUNK = nnx.Module()
LABELS = {"shape": np.array([0, 2, -1, 1, 3], np.int32)}


@pytest.fixture(scope="module")
def batch():
    """Five clips: the third has no label, the fourth no audio, the fifth a label beyond the classes."""
    clips = [random_clip(n, ("video", "text") if n == 3 else ("video", "audio", "text"), hide=False) for n in range(5)]
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3, labels=LABELS, hidden=()))
    backbone = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    return stream, jax.jit(lambda stream: backbone(stream))(stream)


@pytest.mark.parametrize("pooling", ["mean", "map"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_reference(batch, pooling, smoothing):
    """Cross entropy with smoothed targets, and the gradient by an offset of every logit."""
    stream, features = batch
    objective = Classification("shape", 3, smoothing=smoothing, pooling=pooling)
    graph, state = nnx.split(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)))

    def loss(state):
        return objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    heads = nnx.merge(graph, state)
    pooled, _ = heads.pooler(features, heads.tap(features), ("video", "audio"), 3)
    logits = np.asarray(heads.logits(pooled), np.float64).reshape(6, 3)[:2]

    def reference(added):
        losses = []
        for answer, label in zip(logits + added, LABELS["shape"], strict=False):
            wanted = np.full(3, smoothing / 3)
            wanted[label] += 1 - smoothing
            losses.append(-(wanted * (answer - np.log(np.exp(answer).sum()))).sum())
        return np.mean(losses)

    np.testing.assert_allclose(value, reference(np.zeros(3)), rtol=1e-5)
    slope = slopes(reference, [np.zeros(3)])[0]
    np.testing.assert_allclose(gradient["logits"]["dense"]["bias"].get_value(), slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(axis=1) == LABELS["shape"][:2]))
    assert (metrics["clips"], metrics["foreign_labels"]) == (2, 1)


def test_class_tokens_must_be_there(batch):
    stream, features = batch
    objective = Classification("shape", 3, pooling="class")
    with pytest.raises(ValueError, match="model.class_tokens"):
        objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)


def test_a_clip_without_sound_counts_where_any_modality_will_do(batch):
    stream, features = batch
    objective = Classification("shape", 3, require="any")
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    loss, metrics = objective.loss(heads, features, stream, NO_TRUNK)
    pooled, _ = heads.pooler(features, heads.tap(features), ("video", "audio"), 3)
    logits = np.asarray(heads.logits(pooled), np.float64).reshape(6, 3)[[0, 1, 3]]
    wanted = LABELS["shape"][[0, 1, 3]]
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(3), wanted]
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    assert (metrics["clips"], metrics["foreign_labels"]) == (3, 1)


SEVERAL = np.array(
    [[[1, 0, 1], [0, 0, 0], [0, 1, np.nan]], [[1, 1, 1], [np.nan] * 3, [1, 0, 0]]], np.float32
)  # the fourth clip has no sound, of the fifth nothing is known, the sixth is not there


def with_clips(stream, **changes):
    return dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, **changes))


def answered(objective, stream, features):
    """Return loss, metrics, all logits in float64, and the gradient by an offset of every logit."""
    graph, state = nnx.split(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)))

    def loss(state):
        return objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    told = objective.predict(nnx.merge(graph, state), features, stream, NO_TRUNK)
    logits = np.asarray(told["logits"], np.float64).reshape(6, 3)
    return value, metrics, logits, gradient["logits"]["dense"]["bias"].get_value()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_several_classes_of_a_clip(batch, smoothing):
    """Binary cross entropy over every class of every clip that is known, each alike."""
    stream, features = batch
    stream = with_clips(stream, targets={"sounds": jnp.asarray(SEVERAL)})
    objective = Classification("sounds", 3, form="sigmoid", smoothing=smoothing)
    value, metrics, logits, gradient = answered(objective, stream, features)
    wanted = SEVERAL.reshape(6, 3).astype(np.float64)
    counted = [(clip, kind) for clip in (0, 1, 2) for kind in range(3) if np.isfinite(wanted[clip, kind])]
    assert len(counted) == 8

    def reference(added):
        losses = []
        for clip, kind in counted:
            y = wanted[clip, kind] * (1 - smoothing) + smoothing / 3
            chance = 1 / (1 + np.exp(-(logits[clip, kind] + added[kind])))
            losses.append(-y * np.log(chance) - (1 - y) * np.log(1 - chance))
        return np.mean(losses)

    np.testing.assert_allclose(value, reference(np.zeros(3)), rtol=1e-5)
    np.testing.assert_allclose(gradient, slopes(reference, [np.zeros(3)])[0], rtol=1e-4, atol=1e-6)
    best = [(clip, logits[clip].argmax()) for clip in (0, 1, 2)]
    np.testing.assert_allclose(metrics["accuracy"], np.mean([wanted[at] for at in best if at in counted]))
    assert (metrics["clips"], metrics["foreign_labels"]) == (3, 0)


def test_one_class_by_sigmoid_is_one_of_several(batch):
    stream, features = batch
    one_hot = np.full((6, 3), np.nan, np.float32)
    one_hot[[0, 1, 3]] = np.eye(3)[[0, 2, 1]]
    several = with_clips(stream, targets={"sounds": jnp.asarray(one_hot.reshape(2, 3, 3))})
    for smoothing in (0.0, 0.2):
        single = answered(Classification("shape", 3, form="sigmoid", smoothing=smoothing), stream, features)
        many = answered(Classification("sounds", 3, form="sigmoid", smoothing=smoothing), several, features)
        np.testing.assert_allclose(single[0], many[0], rtol=1e-6)
        np.testing.assert_allclose(single[3], many[3], rtol=1e-6)
        assert single[1]["accuracy"] == many[1]["accuracy"] and single[1]["clips"] == many[1]["clips"] == 2


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_mixed_clips_are_answered_by_shares(batch, form):
    """The second clip is 0.7 itself and 0.3 of class 1; the clip mixed into the first is unknown."""
    stream, features = batch
    share = jnp.array([[1.0, 0.7, 1.0], [1.0, 1.0, 1.0]])
    other = jnp.array([[-1, 1, -1], [-1, -1, -1]], jnp.int32)
    objective = Classification("shape", 3, smoothing=0.2, form=form)
    value, metrics, logits, _ = answered(
        objective, with_clips(stream, mixed=MixupTargets(share, {"shape": other})), features
    )
    targets = np.array([[1, 0, 0], [0, 0.3, 0.7]])
    smooth = targets * 0.8 + 0.2 / 3
    if form == "softmax":
        chances = np.exp(logits[:2]) / np.exp(logits[:2]).sum(axis=1, keepdims=True)
        expected = -(smooth * np.log(chances)).sum(axis=1).mean()
    else:
        chances = 1 / (1 + np.exp(-logits[:2]))
        expected = -(smooth * np.log(chances) + (1 - smooth) * np.log(1 - chances)).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], targets[[0, 1], logits[:2].argmax(axis=1)].mean(), rtol=1e-6)
    assert metrics["clips"] == 2
    unknown = with_clips(stream, mixed=MixupTargets(share.at[0, 0].set(0.9), {"shape": other}))
    assert answered(objective, unknown, features)[1]["clips"] == 1


def test_answers_need_no_label(batch):
    stream, features = batch
    for require, fourth in (("all", False), ("any", True)):
        objective = Classification("unheard", 3, require=require)
        told = objective.predict(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)
        assert told["known"].tolist() == [[True, True, True], [fourth, True, False]]
        assert told["logits"].shape == (2, 3, 3) and told["logits"].dtype == jnp.float32


def test_dropout_acts_in_training_only(batch):
    stream, features = batch
    objective = Classification("shape", 3, dropout=0.5)
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    plain = dataclasses.replace(objective, dropout=0.0).heads(TINY, SPEC, rngs=nnx.Rngs(1))
    same = [np.asarray(plain(features, stream)[0]) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    draws = np.stack([np.asarray(heads(features, stream)[0]) for _ in range(400)])
    assert np.abs(draws[0] - draws[1]).max() > 0.01
    heads.eval()
    np.testing.assert_array_equal(heads(features, stream)[0], same[0])
    error = draws.std(axis=0) / 20
    assert (np.abs(draws.mean(axis=0) - same[0])[0] < 5 * error[0]).all()


def test_the_learner_keeps_the_dice_of_dropout_and_predicts_without(batch):
    stream, _ = batch
    learner = Learner(TINY, SPEC, {"it": Classification("shape", 3, dropout=0.5)}, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(learner, nnx.Param, ...)

    @jax.jit
    def step(rest):
        learner = nnx.merge(graph, params, rest)
        loss, _ = learner.losses(stream)
        return loss, nnx.state(learner, nnx.Not(nnx.Param))

    first, after = step(rest)
    second, _ = step(after)
    assert first != second and step(rest)[0] == first
    learner.eval()
    np.testing.assert_array_equal(*(learner.predict(stream)["it"]["logits"] for _ in range(2)))


def test_a_small_start_gives_all_answers_alike(batch):
    stream, features = batch
    heads = [Classification("shape", 3, init_scale=s).heads(TINY, SPEC, rngs=nnx.Rngs(1)) for s in (1.0, 0.001)]
    large, small = (np.asarray(each(features, stream)[0]) for each in heads)
    np.testing.assert_allclose(small, 0.001 * large, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "objective, words",
    [
        (Classification("sounds", 3), "a clip may have several of 'sounds': set form to sigmoid"),
        (Classification("sounds", 4, form="sigmoid"), "classes 4 does not fit the corpus, whose 'sounds' has 3"),
        (Classification("smell", 4), "'smell' is not a kind of label of the corpus: it has shape, sounds"),
    ],
)
def test_what_does_not_fit_the_corpus_is_told(batch, objective, words):
    stream, features = batch
    stream = with_clips(stream, targets={"sounds": jnp.asarray(SEVERAL)})
    with pytest.raises(ValueError, match=words):
        objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)


def test_the_norm_of_the_head_has_its_epsilon_or_is_left_out(batch):
    stream, features = batch
    pooled, _ = Classification("shape", 3).heads(TINY, SPEC, rngs=nnx.Rngs(1)).pooler(features, 0, ("video",), 3)
    pooled = np.asarray(pooled, np.float64)
    for epsilon in (None, 1e-6, 0.5):
        heads = Classification("shape", 3, ("video",), head_norm=epsilon).heads(TINY, SPEC, rngs=nnx.Rngs(1))
        wanted = pooled
        if epsilon is not None:
            wanted = (pooled - pooled.mean(-1, keepdims=True)) / np.sqrt(pooled.var(-1, keepdims=True) + epsilon)
        wanted = wanted @ np.asarray(heads.logits.dense.kernel[...])
        there = np.asarray(heads(features, stream)[1])
        np.testing.assert_allclose(np.asarray(heads(features, stream)[0])[there], wanted[there], atol=1e-5)
    with pytest.raises(ValueError, match="head_norm 0.0 must be above 0, or None"):
        Classification("shape", 3, head_norm=0.0)
