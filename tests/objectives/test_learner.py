"""The learner: the sum of its objectives, clips without the required inputs, and combinations that are refused."""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Decoder, Fusion
from mmvideo.objectives import (
    AnyObjective,
    Captioning,
    Classification,
    Contrastive,
    ContrastiveSpans,
    Distillation,
    LatentPrediction,
    MaskedPatches,
    MaskedText,
    Matching,
    Moments,
    Regression,
    Synchrony,
)
from mmvideo.objectives.components.modality_groups import group_and_space, shared_embedding_space
from mmvideo.objectives.learner import Learner

PAIRS = ("video-text", "audio-text", "video-audio", "video+audio-text")
OBJECTIVES = {
    "contrastive": Contrastive(pairs=PAIRS, width=16),
    "sigmoid": Contrastive(pairs=("video-text",), form="sigmoid", width=8),
    "masked_patches": MaskedPatches(weight=0.5),
    "masked_text": MaskedText(weight=0.2),
    "label": Classification("shape", 3, ("video",), smoothing=0.1),
}


def to_device(stream):
    return jax.tree.map(jnp.asarray, stream)


def losses_and_gradients(learner, stream):
    graph, params, others = nnx.split(learner, nnx.Param, ...)
    others = nnx.to_pure_dict(others)
    (total, metrics), gradients = differentiate(graph, nnx.to_pure_dict(params), others, to_device(stream))
    return total, metrics, gradients


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, params, others, stream):
    return jax.value_and_grad(lambda params: nnx.merge(graph, params, others).losses(stream), has_aux=True)(params)


@functools.partial(jax.jit, static_argnums=0)
def embed(graph, state, stream):
    learner = nnx.merge(graph, state)
    return learner.embed(stream), learner.features(stream)


def new_learner(model, spec, objectives):
    """Return a learner, made in one jitted function, which is quicker than op by op."""
    made = jax.jit(lambda: nnx.state(Learner(model, spec, objectives, rngs=nnx.Rngs(0))))()
    abstract = nnx.eval_shape(lambda: Learner(model, spec, objectives, rngs=nnx.Rngs(0)))
    return nnx.merge(nnx.graphdef(abstract), made)


@pytest.fixture(scope="module")
def learner():
    return new_learner(TINY, SPEC, OBJECTIVES)


def test_the_total_is_the_weighted_sum(learner):
    labels = {"shape": np.array([0, 2, -1, 1, 3], np.int32)}
    stream = make_stream([random_clip(seed) for seed in range(5)], rows=2, slots=3, labels=labels)
    total, metrics, gradients = losses_and_gradients(learner, stream)
    assert total == metrics["loss"]
    expected = sum(objective.weight * metrics[f"{name}/loss"] for name, objective in OBJECTIVES.items())
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    pairs = [metrics[f"contrastive/{pair}/loss"] for pair in PAIRS]
    np.testing.assert_allclose(metrics["contrastive/loss"], np.mean(pairs), rtol=1e-6)
    assert all(metrics[f"contrastive/{pair}/clips"] == 5 for pair in PAIRS)
    np.testing.assert_allclose(metrics["contrastive/video-text/temperature"], 0.07, rtol=1e-5)
    np.testing.assert_allclose(metrics["sigmoid/video-text/temperature"], 0.1, rtol=1e-5)
    # One label is unknown and one is not below `classes`.
    assert (metrics["label/clips"], metrics["label/foreign_labels"]) == (3, 1)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    idle = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(gradients) if not np.any(leaf)]
    assert idle == []


MIXTURE = {
    "softmax": Contrastive(pairs=("video-text", "video-audio"), width=16, chunk=4, direction="forward"),
    "sigmoid": Contrastive(pairs=("video+audio-text",), form="sigmoid", width=8, chunk=4, pooling="map"),
    "mil_nce": Contrastive(pairs=("audio-text",), form="mil_nce", width=8, chunk=8, weight=0.3),
    "masked_patches": MaskedPatches(weight=0.5, target="patch", error="smooth_l1"),
    "masked_text": MaskedText(weight=0.2),
    "captioning": Captioning(weight=2.0),
    "latent": LatentPrediction(weight=0.7, predictor=Decoder(1, 24, 2)),
    "spans": ContrastiveSpans(weight=0.4, width=8),
    "matching": Matching(weight=0.8),
    "synchrony": Synchrony(weight=0.6),
    "teacher": Distillation(8, ("video", "audio"), form="relational", weight=0.9),
    "label": Classification("shape", 3, ("video",)),
    "number": Regression("size", ("audio",), weight=0.1),
}
"""Objectives of every kind but `Moments`, whose video sees the text that captioning hides from it."""


@pytest.mark.slow(reason="compiles every objective")
def test_objectives_of_every_kind_are_learned_in_one_step():
    kinds = typing.get_args(typing.get_args(AnyObjective)[0])
    assert {type(objective) for objective in MIXTURE.values()} | {Moments} == set(kinds)
    model = dataclasses.replace(TINY, fusion=Fusion("mid", 2, 1, text="causal"))
    spec = dataclasses.replace(SPEC, text=dataclasses.replace(SPEC.text, captions=2))
    stream = make_stream(
        [random_clip(seed) for seed in range(5)], 2, 3, labels={"shape": np.array([0, 2, 1, 1, 0], np.int32)}
    )
    stream.clips.aligned[1, 0] = False
    vectors = {"video+audio": np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)}
    sizes = {"size": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3, 1)}
    stream = dataclasses.replace(
        stream, clips=dataclasses.replace(stream.clips, teacher_embeddings=vectors, targets=sizes)
    )
    total, metrics, gradients = losses_and_gradients(new_learner(model, spec, MIXTURE), stream)
    losses = {name: metrics[f"{name}/loss"] for name in MIXTURE}
    assert all(np.isfinite(loss) and loss > 0 for loss in losses.values())
    np.testing.assert_allclose(total, sum(MIXTURE[name].weight * loss for name, loss in losses.items()), rtol=1e-6)
    assert {name.split("/")[0] for name in metrics} == {"loss", *MIXTURE}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    idle = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(gradients) if not np.any(leaf)]
    assert idle == []


def test_pairs_count_by_their_weights():
    weighted = Contrastive(pairs=PAIRS, width=16, pair_weights=(4.0, 1.0, 0.0, 1.0))
    learner = new_learner(TINY, SPEC, {"contrastive": weighted})
    stream = make_stream([random_clip(seed) for seed in range(5)], rows=2, slots=3)
    total, metrics, _ = losses_and_gradients(learner, stream)
    each = [float(metrics[f"contrastive/{pair}/loss"]) for pair in PAIRS]
    assert float(total) == pytest.approx((4 * each[0] + each[1] + each[3]) / 6, rel=1e-5)


def test_a_clip_without_sound_takes_no_part_in_sound(learner):
    clips = [random_clip(seed) for seed in range(4)]
    silent = random_clip(9, ("video", "text"))
    labels = {"shape": np.array([0, 1, 2, -1, -1], np.int32)}
    _, few, _ = losses_and_gradients(learner, make_stream(clips, rows=2, slots=3, labels=labels))
    _, more, _ = losses_and_gradients(learner, make_stream([*clips, silent], rows=2, slots=3, labels=labels))
    for key in few:
        if "audio" in key or key.startswith("label/"):
            np.testing.assert_allclose(more[key], few[key], rtol=2e-5, err_msg=key)
    assert more["contrastive/video-text/clips"] == few["contrastive/video-text/clips"] + 1
    assert abs(more["contrastive/video-text/loss"] - few["contrastive/video-text/loss"]) > 1e-4


@pytest.mark.parametrize(
    "clip", [None, random_clip(0, ("audio",), hide=False)], ids=["unreadable", "has nothing that is needed"]
)
def test_a_batch_in_which_no_clip_qualifies(learner, clip):
    only = make_stream([clip], rows=2, slots=3, labels={"shape": np.zeros(1, np.int32)})
    total, metrics, gradients = losses_and_gradients(learner, only)
    assert total == 0
    assert all(value == 0 for key, value in metrics.items() if not key.endswith("temperature"))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


def test_the_same_clip_twice_is_no_negative(learner):
    stream = make_stream([random_clip(0), random_clip(0)], rows=2, slots=3, labels={"shape": np.zeros(2, np.int32)})
    _, apart, _ = losses_and_gradients(learner, stream)
    stream.clips.clip_index[:] = 7
    _, same, _ = losses_and_gradients(learner, stream)
    np.testing.assert_allclose(apart["contrastive/video-text/loss"], np.log(2), rtol=1e-4)
    assert same["contrastive/video-text/loss"] == 0


def test_embeddings_and_features(learner):
    clips = [random_clip(0, hide=False), random_clip(1, ("video",), hide=False)]
    labels = {"shape": np.zeros(2, np.int32)}
    embedded, features = embed(*nnx.split(learner), to_device(make_stream(clips, 1, 3, labels=labels)))
    assert set(features) == {"video", "audio", "text", "video+audio"}
    assert set(embedded) == {*features, "video@sigmoid", "text@sigmoid"}
    for name, (vector, present) in embedded.items():
        group, space = group_and_space(name)
        assert vector.shape == (1, 3, 8 if space else 16)
        assert present.tolist() == [[True, group == "video", False]]
        np.testing.assert_allclose(np.linalg.norm(vector[0, 0]), 1, rtol=1e-5)
    for name, (vector, present) in features.items():
        assert (vector.shape, vector.dtype) == ((1, 3, 48), jnp.float32)
        assert present.tolist() == [[True, name == "video", False]]


def test_the_main_space_is_that_of_the_words():
    """One objective compares video and audio, another video and text: each in its own space."""
    objectives = {name: Contrastive(pairs=(name,), width=16) for name in ("video-audio", "video-text")}
    learner = new_learner(TINY, SPEC, objectives)
    stream = to_device(make_stream([random_clip(0, hide=False)], 1, 3))
    embedded, _ = embed(*nnx.split(learner), stream)
    assert set(embedded) == {"video", "text", "video@video-audio", "audio@video-audio"}
    features = learner.trunk(stream)
    for name, space in (("video", "video-text"), ("video@video-audio", "video-audio")):
        alone = objectives[space].embeddings(learner.heads[space], features, stream)["video"][0]
        np.testing.assert_allclose(embedded[name][0], alone, rtol=1e-5, atol=1e-6)
    assert np.abs(embedded["video"][0] - embedded["video@video-audio"][0]).max() > 0.01


def test_names_tell_what_can_be_compared():
    names = ["video", "text", "video@other", "video+audio@other", "text@other"]
    assert [group_and_space(name) for name in names[1:3]] == [("text", ""), ("video", "other")]
    assert shared_embedding_space(names, ["video", "text"]) == ["video", "text"]
    assert shared_embedding_space(names, ["video+audio", "text"]) == ["video+audio@other", "text@other"]
    assert shared_embedding_space(names, ["audio", "text"]) is None


def test_features_of_a_modality_know_of_no_other(learner):
    whole, other = random_clip(0, hide=False), random_clip(5, hide=False)
    labels = {"shape": np.zeros(1, np.int32)}
    a, b = (
        embed(*nnx.split(learner), to_device(make_stream([clip], 1, 3, labels=labels)))[1]
        for clip in (whole, {**whole, "text": other["text"]})
    )
    for name in ("video", "audio", "video+audio"):
        np.testing.assert_array_equal(a[name][0], b[name][0])
    assert np.abs(a["text"][0] - b["text"][0]).max() > 0.01


def test_bfloat16_gives_float32_losses(learner):
    coarse = new_learner(dataclasses.replace(TINY, compute="bfloat16"), SPEC, OBJECTIVES)
    stream = make_stream([random_clip(seed) for seed in range(4)], 2, 3, labels={"shape": np.arange(4, dtype=np.int32)})
    graph, state = nnx.split(coarse)
    total, metrics = jax.jit(lambda state, stream: nnx.merge(graph, state).losses(stream))(state, to_device(stream))
    reference, _, _ = losses_and_gradients(learner, stream)
    assert all(value.dtype == jnp.float32 for value in metrics.values())
    np.testing.assert_allclose(total, reference, rtol=0.03)


@pytest.mark.parametrize(
    "fusion, pairs, words",
    [
        (Fusion("early"), ("video-text",), "model.fusion.scheme 'early'"),
        (Fusion("mid", 0), ("video-text",), "model.fusion.layer"),
        (Fusion("mid", 2, 0), ("video-audio",), "compares video before it has met"),
    ],
)
def test_contrastive_needs_modalities_apart(fusion, pairs, words):
    with pytest.raises(ValueError, match="objective 'c': contrastive") as error:
        Learner(dataclasses.replace(TINY, fusion=fusion), SPEC, {"c": Contrastive(pairs=pairs)}, rngs=nnx.Rngs(0))
    assert words in str(error.value)


def test_joint_sides_may_meet_early():
    model = dataclasses.replace(TINY, fusion=Fusion("mid", 2, 0))
    learner = Learner(model, SPEC, {"c": Contrastive(pairs=("video+audio-text",))}, rngs=nnx.Rngs(0))
    assert set(learner.heads["c"].projections) == {"video+audio", "text"}


def test_what_a_run_lacks_is_told():
    silent = dataclasses.replace(SPEC, audio=None)
    for objective, spec, words in [
        (Contrastive(), silent, "contrastive needs audio, which the run does not have: set input.audio"),
        (Classification("x", 2), silent, "classification needs audio"),
        (MaskedText(), dataclasses.replace(SPEC, text=None), "masked_text needs text"),
        (MaskedPatches(), dataclasses.replace(silent, video=None), "masked_patches needs video or audio"),
        (Contrastive(pooling="class"), SPEC, "'it': contrastive.pooling 'class' needs class tokens: set model.class_"),
    ]:
        with pytest.raises(ValueError, match=words):
            Learner(TINY, spec, {"it": objective}, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="at least one"):
        Learner(TINY, SPEC, {}, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "objective, hidden, words",
    [
        (MaskedPatches(), ("audio", "text"), "input.masking.video above 0"),
        (MaskedPatches(video=0.0), ("video", "text"), "input.masking.audio above 0"),
        (MaskedText(), ("video", "audio"), "input.masking.text above 0"),
        (Classification("colour", 2), (), "'colour' is not a kind of label of the corpus: it has shape"),
    ],
)
def test_what_a_stream_lacks_is_told(objective, hidden, words):
    learner = Learner(TINY, SPEC, {"it": objective}, rngs=nnx.Rngs(0))
    labels = {"shape": np.zeros(1, np.int32)}
    stream = to_device(make_stream([random_clip(0, hide=False)], 1, 1, hidden=hidden, labels=labels))
    with pytest.raises(ValueError, match="objective 'it'") as error:
        jax.eval_shape(lambda: learner.losses(stream))
    assert words in str(error.value)


def test_masking_of_an_absent_modality_is_no_need():
    silent = dataclasses.replace(SPEC, audio=None)
    learner = new_learner(TINY, silent, {"it": MaskedPatches()})
    stream = make_stream([random_clip(0, ("video", "text"))], 1, 1, spec=silent, hidden=("video",))
    _, metrics, _ = losses_and_gradients(learner, stream)
    assert metrics["it/video/tokens"] == 2 and "it/audio/loss" not in metrics
