"""Moments: targets and losses against slow float64 loops; who lacks text, video or moments takes no part."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, part

from mmvideo.model.config import Fusion, VideoEncoder
from mmvideo.model.kinds import FrameLstm
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.model.transformer.step_pooling import pool_frames
from mmvideo.objectives import Moments
from mmvideo.objectives.learner import Learner
from mmvideo.objectives.losses.moment_targets import overlap, ranking, step_targets
from mmvideo.stream import PatchSpec

STEPS, SECONDS, NAN = 5, 0.5, np.nan
LONG = dataclasses.replace(SPEC, video=PatchSpec(SPEC.video.patch, (STEPS, 2, 1), SECONDS))
NO_TRUNK = nnx.Module()

# Steps of video, pieces of text, moments and saliency of every clip.
CLIPS = [
    (5, 4, [[0.4, 1.3], [1.0, 2.5]], [0.5, NAN, 1.0, 0.25, NAN]),
    (4, 3, [[0.6, 0.7], [NAN, NAN]], [NAN] * 5),
    (3, 0, [[0.1, 0.9], [NAN, NAN]], [1.0, 0.0, 0.0, NAN, NAN]),
    (5, 6, [[NAN, NAN]] * 2, [0.1, 0.9, 0.9, NAN, 0.3]),
    (4, 2, [[3.0, 9.0], [NAN, NAN]], [NAN] * 5),
    (0, 5, [[0.0, 1.0], [NAN, NAN]], [1.0] * 5),
    (5, 4, [[-1.0, 0.8], [2.3, 2.4]], [NAN, 0.7, NAN, NAN, NAN]),
]
FOREGROUND = {0: {1: 0, 2: 0, 3: 1, 4: 1}, 1: {1: 0}, 4: {}, 6: {0: 0, 1: 0, 4: 1}}
"""Of the clips that count, which steps are of which moment; step `n` has its middle at `n / 2 + 1 / 4` seconds."""


def tokens(number):
    draw = np.random.default_rng(number)
    steps, text_tokens, _, _ = CLIPS[number]
    clip = {}
    if steps:
        clip["video"] = part(draw.integers(0, 256, (2 * steps, LONG.video.size)).astype(np.uint8), LONG.video)
    if text_tokens:
        clip["text"] = part(draw.integers(5, 40, text_tokens).astype(np.int32), None)
    return clip


def stream_of(numbers, rows, slots):
    """A batch of these clips with their moments and saliency."""
    stream = make_stream([tokens(number) for number in numbers], rows, slots, spec=LONG, hidden=())
    moments = np.full((rows * slots, 2, 2), NAN, np.float32)
    saliency = np.full((rows * slots, STEPS), NAN, np.float32)
    for place, number in enumerate(numbers):
        moments[place], saliency[place] = CLIPS[number][2], CLIPS[number][3]
    return with_clips(stream, moments=moments.reshape(rows, slots, 2, 2), saliency=saliency.reshape(rows, slots, STEPS))


def with_clips(stream, **changes):
    return jax.tree.map(jnp.asarray, dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, **changes)))


@pytest.fixture(scope="module")
def batch():
    stream = stream_of(range(len(CLIPS)), rows=3, slots=3)
    backbone = MultimodalTransformer(TINY, LONG, rngs=nnx.Rngs(0))
    return stream, jax.jit(lambda stream: backbone(stream))(stream)


def test_targets_are_those_by_hand(batch):
    stream, features = batch
    steps = pool_frames(features.top, features.layout, 3, LONG.video)
    found = step_targets(stream.clips.moments, steps)
    known = found.known.reshape(-1).tolist()
    assert known == [True, True, True, False, True, True, True, False, False]
    for number, own in FOREGROUND.items():
        at = divmod(number, 3)
        assert np.flatnonzero(found.foreground[at]).tolist() == sorted(own)
        for step, moment in own.items():
            # What lies outside of the view is cut off.
            wanted = np.clip(CLIPS[number][2][moment], 0, CLIPS[number][0] * SECONDS)
            np.testing.assert_allclose(found.window[at][step], wanted, rtol=1e-6)


def overlaps(a, b):
    both = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    either, hull = a[1] - a[0] + b[1] - b[0] - both, max(a[1], b[1]) - min(a[0], b[0])
    return both / either, both / either - (hull - either) / hull


def entropy(odds, wanted):
    chance = 1 / (1 + np.exp(-odds))
    return -wanted * np.log(chance) - (1 - wanted) * np.log(1 - chance)


def reference(given, background=0.3):
    """Return the five losses, clip by clip and step by step, of the outputs `[clip, step, 4]` of the heads."""
    foreground, boundary, apart = [], [], []
    for number, own in FOREGROUND.items():
        count, _, moments, _ = CLIPS[number]
        length = count * SECONDS
        for step in range(count):
            odds, *away, _ = given[number, step]
            foreground.append(entropy(odds, 1) if step in own else background * entropy(odds, 0))
            if step in own:
                middle = (step + 0.5) * SECONDS
                window = middle + np.array([-1, 1]) * length / (1 + np.exp(-np.array(away)))
                wanted = np.clip(moments[own[step]], 0, length)
                boundary.append((0.5 * ((window - wanted) / length) ** 2).mean())
                apart.append(1 - overlaps(window, wanted)[1])
    saliency, contrast = [], []
    for number in (0, 3, 6):
        count, _, _, rated = CLIPS[number]
        # Clip 6 has a step rated, and steps outside of all moments, which are 0.
        wanted = {step: rated[step] for step in range(count) if np.isfinite(rated[step])}
        outside = set(range(count)) - set(FOREGROUND.get(number, range(count)))
        wanted |= {step: 0.0 for step in outside - set(wanted)}
        odds = {step: given[number, step, 3] for step in wanted}
        saliency += [entropy(odds[step], wanted[step]) for step in wanted]
        for step in wanted:
            lower = [np.exp(odds[other]) for other in wanted if wanted[other] < wanted[step]]
            if lower:
                contrast.append(-np.log(np.exp(odds[step]) / (np.exp(odds[step]) + sum(lower))))
    return [np.mean(each) for each in (foreground, boundary, apart, saliency, contrast)]


def test_the_loss_is_the_reference(batch):
    stream, features = batch
    objective = Moments(1, background=0.3, boundary=2.0, overlap=0.7, saliency=0.4, ranking=0.6)
    graph, state = nnx.split(objective.heads(TINY, LONG, rngs=nnx.Rngs(1)))

    def loss(state):
        return objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    heads = nnx.merge(graph, state)
    steps = pool_frames(features.top, features.layout, 3, LONG.video)
    given = np.asarray(heads.head(heads.layers(steps.vector, steps.present)), np.float64).reshape(9, STEPS, 4)

    def total(added):
        return float(np.dot(reference(given + added), [1, 2.0, 0.7, 0.4, 0.6]))

    names = ("foreground", "boundary", "overlap", "saliency", "ranking")
    for name, wanted in zip(names, reference(given), strict=True):
        np.testing.assert_allclose(metrics[f"{name}_loss"], wanted, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(value, total(np.zeros(4)), rtol=1e-5)
    slope = slopes(total, [np.zeros(4)])[0]
    np.testing.assert_allclose(gradient["head"]["dense"]["bias"].get_value(), slope, rtol=1e-4, atol=1e-6)
    assert (metrics["clips"], metrics["salient_clips"]) == (5, 3)


def test_recall_is_of_the_best_window_of_a_clip_with_moments(batch):
    stream, features = batch
    objective = Moments()
    heads = objective.heads(TINY, LONG, rngs=nnx.Rngs(3))
    _, metrics = objective.loss(heads, features, stream, NO_TRUNK)
    answers = heads(features, 3)
    found, whole = [], []
    for number in (0, 1, 6):
        at, length = divmod(number, 3), CLIPS[number][0] * SECONDS
        best = np.argmax(answers.foreground[at][: CLIPS[number][0]])
        moments = [np.clip(moment, 0, length) for moment in CLIPS[number][2] if np.isfinite(moment).all()]
        found.append(max(overlaps(answers.windows[at][best], moment)[0] for moment in moments) >= 0.5)
        whole.append(max(overlaps((0, length), moment)[0] for moment in moments) >= 0.5)
    np.testing.assert_allclose(
        [metrics["recall"], metrics["whole_recall"]], [np.mean(found), np.mean(whole)], rtol=1e-6
    )
    assert whole == [True, False, False]


def test_overlap_of_stretches():
    draw = np.random.default_rng(0)
    a, b = np.sort(draw.integers(0, 9, (2, 200, 2)) + [0, 0.5], axis=-1)
    expected = np.array([overlaps(*pair) for pair in zip(a, b, strict=True)])
    np.testing.assert_allclose(np.stack(overlap(jnp.asarray(a), jnp.asarray(b)), axis=-1), expected, atol=1e-5)
    assert (expected[:, 0] == 0).any() and (expected[:, 1] < 0).any()


def test_equal_saliency_ranks_nothing():
    loss, counted = ranking(jnp.arange(3.0), jnp.ones(3), jnp.ones(3, bool))
    assert not counted.any() and np.isfinite(loss).all()


@pytest.mark.parametrize("model", [TINY, dataclasses.replace(TINY, video_encoder=VideoEncoder(1, "class"))])
def test_packed_is_separate(model):
    """The predictions for a clip are the same in a row of its own, also with one token a time step."""
    learner = Learner(model, LONG, {"it": Moments()}, rngs=nnx.Rngs(0))
    graph, state = nnx.split(learner)
    answer = jax.jit(lambda stream: nnx.merge(graph, state).predict(stream)["it"])
    packed, apart = answer(stream_of(range(7), 3, 3)), answer(stream_of(range(7), 7, 1))
    assert packed["known"].reshape(-1).tolist() == [True, True, False, True, True, False, True, False, False]
    for number, (steps, *_) in enumerate(CLIPS):
        for name in ("windows", "scores", "saliency", "time", "steps"):
            one, other = packed[name].reshape(9, *packed[name].shape[2:])[number], apart[name][number, 0]
            np.testing.assert_allclose(one[:steps], other[:steps], rtol=1e-4, atol=1e-5, err_msg=name)
        at = divmod(number, 3)
        assert np.flatnonzero(packed["steps"][at]).tolist() == list(range(steps))
        np.testing.assert_allclose(packed["time"][at][:steps], (np.arange(steps) + 0.5) * SECONDS)
        windows = packed["windows"][at][:steps]
        assert (windows >= 0).all() and (windows <= steps * SECONDS).all() and (windows[:, 0] < windows[:, 1]).all()
    loss, metrics = jax.jit(lambda stream: nnx.merge(graph, state).losses(stream))(stream_of(range(7), 3, 3))
    assert np.isfinite(loss) and metrics["it/clips"] == 5


def test_seconds_are_those_of_the_clip(batch):
    """Frames spread over twice the time, and moments with them, are the same task."""
    stream, features = batch
    objective = Moments()
    heads = objective.heads(TINY, LONG, rngs=nnx.Rngs(1))
    slow = dataclasses.replace(features, layout=dataclasses.replace(features.layout, time=2 * features.layout.time))
    doubled = with_clips(stream, moments=2 * stream.clips.moments)
    one, two = (objective.loss(heads, *given, NO_TRUNK)[0] for given in ((features, stream), (slow, doubled)))
    np.testing.assert_allclose(one, two, rtol=1e-6)
    one, two = (objective.predict(heads, *given, NO_TRUNK) for given in ((features, stream), (slow, doubled)))
    real = np.asarray(one["steps"])
    np.testing.assert_allclose(2 * one["windows"][real], two["windows"][real], rtol=1e-5, atol=1e-6)


def test_words_change_what_is_found(batch):
    learner = Learner(TINY, LONG, {"it": Moments()}, rngs=nnx.Rngs(0))
    stream, _ = batch
    other = dataclasses.replace(stream, content=stream.content | {"text": stream.content["text"][:, ::-1]})
    one, two = (learner.predict(each)["it"]["scores"] for each in (stream, other))
    assert np.abs(one - two).max() > 1e-4


@pytest.mark.parametrize("gone", ["moments", "saliency"])
def test_a_corpus_may_know_one_of_both(batch, gone):
    stream, features = batch
    objective = Moments()
    heads = objective.heads(TINY, LONG, rngs=nnx.Rngs(1))
    loss, metrics = objective.loss(heads, features, with_clips(stream, **{gone: None}), NO_TRUNK)
    assert loss > 0
    counts = {"moments": (3, 3), "saliency": (4, 0)}[gone]
    assert (metrics["clips"], metrics["salient_clips"]) == counts
    assert (metrics["foreground_loss"] > 0, metrics["saliency_loss"] > 0) == (gone == "saliency", gone == "moments")


def test_no_moment_gives_nothing(batch):
    stream, features = batch
    objective = Moments()
    heads = objective.heads(TINY, LONG, rngs=nnx.Rngs(1))
    unknown = with_clips(stream, moments=jnp.full((3, 3, 2, 2), jnp.nan), saliency=jnp.full((3, 3, STEPS), jnp.nan))

    def loss(top):
        there = dataclasses.replace(features, taps=(*features.taps[:-1], top))
        return objective.loss(heads, there, unknown, NO_TRUNK)

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(features.top)
    assert value == 0 and not np.any(gradient) and not any(metrics.values())
    with pytest.raises(ValueError, match="the corpus has no moments and no saliency"):
        objective.loss(heads, features, with_clips(stream, moments=None, saliency=None), NO_TRUNK)


@pytest.mark.parametrize(
    "model, spec, words",
    [
        (TINY, dataclasses.replace(LONG, text=None), "moments needs text"),
        (TINY, dataclasses.replace(LONG, video=None), "moments needs video"),
        (dataclasses.replace(TINY, fusion=Fusion("late")), LONG, "video never sees text .*scheme 'late'"),
        (dataclasses.replace(TINY, fusion=Fusion("mid", 3)), LONG, "below the depth 3"),
        (dataclasses.replace(TINY, fusion=Fusion("early", text="causal")), LONG, "'causal': .*bidirectional text"),
        (FrameLstm(), LONG, "every time step of video, but model.kind 'frame_lstm'"),
    ],
)
def test_what_a_run_lacks_is_told(model, spec, words):
    with pytest.raises(ValueError, match=words):
        Moments().heads(model, spec, rngs=nnx.Rngs(0))
