"""Captioning: against a slow reference, and captions that are written as plainly growing texts would be."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from synthetic_streams import SPEC as SILENT_MARKS
from synthetic_streams import TINY, make_stream, part, random_clip

from mmvideo.model.config import Fusion, Sharing
from mmvideo.model.features import Features
from mmvideo.model.fusion import stages
from mmvideo.model.transformer import MultimodalTransformer
from mmvideo.objectives import Captioning, Contrastive
from mmvideo.objectives.learner import Learner
from mmvideo.stream import PADDING, Modality

BEGIN, END = 2, 3
SPEC = dataclasses.replace(SILENT_MARKS, text=dataclasses.replace(SILENT_MARKS.text, begin_id=BEGIN, end_id=END))
SMALL = dataclasses.replace(TINY, depth=2, fusion=Fusion("mid", 1, text="causal"))
KINDS = [("video", "audio", "text"), ("video", "text"), ("audio", "text"), ("video", "audio"), ("text",)]


def caption(seed, modalities, pieces, captions=(), hidden=()):
    """A clip with the given pieces between its marks, and further captions behind."""
    clip = random_clip(seed, [name for name in modalities if name != "text"], hide=False)
    if "text" not in modalities:
        return clip
    texts = [np.array([BEGIN, *text, END], np.int32) for text in (pieces, *captions)]
    grid = np.concatenate(
        [np.stack([np.zeros(len(t)), np.full(len(t), n), np.arange(len(t))], -1) for n, t in enumerate(texts)]
    ).astype(np.int32)
    tokens = part(np.concatenate(texts), None, hidden)
    return {**clip, "text": dataclasses.replace(tokens, grid=grid)}


def captioned_clips():
    texts = [[7, 8, 9], [10], [11, 12], [], [5, 6]]
    clips = [caption(seed, kinds, text) for seed, (kinds, text) in enumerate(zip(KINDS, texts, strict=True))]
    return [caption(9, ("video", "text"), [20, 21], captions=[[30, 31, 32]], hidden=(1,)), *clips]


def made_features(stream, seed=0):
    """Features of any trunk: noise in the rows of the stream."""
    shape = (*stream.layout.modality.shape, 48)
    top = jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
    none = jnp.zeros((*stream.clips.present.shape, 0, 48))
    return Features((top,), stream.layout, (none,), None, stages(Fusion("early", text="causal"), 1), SPEC.modalities)


def on_device(stream):
    return jax.tree.map(jnp.asarray, stream)


def reference(objective, clips, slots, features, kernel, bias):
    """Loss, accuracy, and the gradients of tokens, kernel and bias, piece by piece."""
    layout, top = features.layout, np.asarray(features.top, np.float64)
    found = []
    for number, clip in enumerate(clips):
        if "text" not in clip or not any(set(group) <= set(clip) for group in objective.groups):
            continue
        row, slot = divmod(number, slots)
        tokens = clip["text"]
        for place, (piece, cell) in enumerate(zip(tokens.content, tokens.grid, strict=True)):
            if cell[1] == 0 and piece != END:
                here = (
                    (layout.clip[row] == slot)
                    & (layout.modality[row] == Modality.TEXT)
                    & (layout.grid[row] == cell).all(axis=-1)
                )
                found.append((row, int(np.flatnonzero(here)[0]), int(tokens.content[place + 1])))
    total, right = 0.0, 0
    gradients = [np.zeros_like(top), np.zeros_like(kernel), np.zeros_like(bias)]
    for row, place, wanted in found:
        logits = top[row, place] @ kernel + bias
        chances = np.exp(logits) / np.exp(logits).sum()
        target = np.full(len(bias), objective.smoothing / len(bias))
        target[wanted] += 1 - objective.smoothing
        total -= (target * np.log(chances)).sum() / len(found)
        right += logits.argmax() == wanted
        wrong = (chances - target) / len(found)
        gradients[0][row, place] += kernel @ wrong
        gradients[1] += np.outer(top[row, place], wrong)
        gradients[2] += wrong
    return total, right / len(found), gradients, len(found)


@pytest.mark.parametrize(
    "objective, clips_counted",
    [(Captioning(), 4), (Captioning(("video+audio",), smoothing=0.1), 1), (Captioning(("audio",)), 2)],
    ids=["any", "both", "audio"],
)
def test_the_loss_is_the_reference(objective, clips_counted):
    clips = captioned_clips()
    stream = on_device(make_stream(clips, rows=2, slots=4, spec=SPEC))
    assert (stream.content["text"] == SPEC.text.mask_id).sum() == 1, "a hidden piece is predicted, not its mask"
    features = made_features(stream)
    heads = objective.heads(SMALL, SPEC, rngs=nnx.Rngs(1))
    graph, params = nnx.split(heads)

    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def loss(top, params):
        there = dataclasses.replace(features, taps=(top,))
        return objective.loss(nnx.merge(graph, params), there, stream, nnx.Module())

    (value, metrics), (by_token, by_head) = jax.jit(loss)(features.top, params)
    kernel, bias = (np.asarray(heads.logits.__dict__[name][...], np.float64) for name in ("kernel", "bias"))
    total, accuracy, gradients, tokens = reference(objective, clips, 4, features, kernel, bias)
    np.testing.assert_allclose(value, total, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], accuracy, rtol=1e-6)
    assert (metrics["tokens"], metrics["clips"]) == (tokens, clips_counted)
    np.testing.assert_allclose(metrics["chance_loss"], np.log(40), rtol=1e-6)
    np.testing.assert_allclose(by_token, gradients[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(by_head["logits"]["kernel"], gradients[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_head["logits"]["bias"], gradients[2], rtol=1e-4, atol=1e-7)

    # Rows of the taps that are not the stream's: every token one place further on.
    moved = dataclasses.replace(
        features,
        taps=(jnp.roll(features.top, 1, axis=1),),
        place=jnp.broadcast_to(jnp.roll(jnp.arange(features.top.shape[1]), -1), stream.layout.modality.shape),
    )
    np.testing.assert_allclose(objective.loss(heads, moved, stream, nnx.Module())[0], value, rtol=1e-6)


def test_without_a_begin_mark_the_first_piece_is_not_told():
    clips = [{**random_clip(0, ("video",), hide=False), "text": part(np.array([7, 8, 9, 3], np.int32), None)}]
    _, pieces, _ = Captioning().next_pieces(on_device(make_stream(clips, 1, 2)))
    place = Captioning().next_pieces(on_device(make_stream(clips, 1, 2)))[0]
    assert [int(piece) for piece in pieces[0][place[0] != PADDING]] == [8, 9, 3]


def test_dropped_pieces_are_not_bridged():
    """Where a token is away, the one before it tells nothing: the next that is there is not the next piece."""
    clip = caption(0, ("video", "text"), [7, 8, 9])
    kept = [0, 1, 3, 4]
    text = clip["text"]
    less = type(text)(text.content[kept], text.hidden[kept], text.grid[kept], text.time[kept])
    place, pieces, _ = Captioning().next_pieces(on_device(make_stream([{**clip, "text": less}], 1, 1, spec=SPEC)))
    assert [int(piece) for piece in pieces[0][place[0] != PADDING]] == [7, END]


def test_no_caption_gives_nothing():
    stream = on_device(make_stream([random_clip(0, ("video", "audio")), None], 1, 2, spec=SPEC))
    objective, features = Captioning(), made_features(stream)
    heads = objective.heads(SMALL, SPEC, rngs=nnx.Rngs(1))

    def loss(top):
        return objective.loss(heads, dataclasses.replace(features, taps=(top,)), stream, nnx.Module())

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(features.top)
    assert value == 0 and not np.any(gradient) and not any(metrics.values())


@pytest.mark.parametrize(
    "model, spec, words",
    [
        (TINY, SPEC, "set model.fusion.text to causal"),
        (dataclasses.replace(SMALL, fusion=Fusion("late", text="causal")), SPEC, "text never sees video or audio"),
        (dataclasses.replace(SMALL, fusion=Fusion("mid", 2, text="causal")), SPEC, "below the depth 2"),
        (SMALL, dataclasses.replace(SPEC, text=None), "captioning needs text"),
        (SMALL, dataclasses.replace(SPEC, video=None, audio=None), "the run has only text"),
    ],
)
def test_what_a_run_lacks_is_told(model, spec, words):
    with pytest.raises(ValueError, match=words):
        Captioning().heads(model, spec, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "settings, words",
    [({"smoothing": 1.0}, "smoothing"), ({"media": ()}, "media is empty"), ({"media": ("text",)}, "must name video")],
)
def test_wrong_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Captioning(**settings)


def test_a_piece_knows_nothing_of_those_behind_it():
    """Below the fusion layer and above it, also where class tokens and registers stand in the rows."""
    model = dataclasses.replace(SMALL, class_tokens=1, registers=1, sharing=Sharing("nothing", "norms"))
    trunk = MultimodalTransformer(model, SPEC, rngs=nnx.Rngs(0))
    see = jax.jit(lambda stream: trunk(stream).taps)
    one, other = (
        on_device(make_stream([caption(0, ("video", "audio", "text"), text)], 1, 2, spec=SPEC))
        for text in ([7, 8, 9], [7, 20, 21])
    )
    real = int(one.layout.real.sum())
    for left, right in zip(see(one), see(other), strict=True):
        np.testing.assert_array_equal(left[0, : real - 3], right[0, : real - 3])
        assert (np.abs(left - right)[0, real - 3 : real].max(axis=-1) > 1e-3).all()


@pytest.fixture(scope="module")
def learner():
    """Contrastive learning and captioning of one forward pass, trained until three captions are known by heart."""
    objectives = {"contrastive": Contrastive(pairs=("video-text",), width=8), "captioning": Captioning()}
    graph, state = nnx.split(nnx.eval_shape(lambda: Learner(SMALL, SPEC, objectives, rngs=nnx.Rngs(0))))
    state = jax.jit(lambda: nnx.state(Learner(SMALL, SPEC, objectives, rngs=nnx.Rngs(0))))()
    stream, optimizer = on_device(make_stream(known_clips(), 2, 3, spec=SPEC)), optax.adam(1e-2)

    @jax.jit
    def train(state):
        def step(carried, _):
            state, moments = carried
            loss = jax.value_and_grad(lambda state: nnx.merge(graph, state).losses(stream), has_aux=True)
            (_, metrics), gradient = loss(state)
            updates, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(state, updates), moments), metrics

        return jax.lax.scan(step, (state, optimizer.init(state)), length=60)

    (state, _), metrics = train(state)
    assert metrics["captioning/accuracy"][-1] == 1 and metrics["contrastive/video-text/accuracy"][-1] == 1
    return nnx.merge(graph, state)


TEXTS = {0: [7, 8, 9, 10], 1: [7, 8, 11], 3: [12]}


def known_clips():
    """Two clips that begin alike, a silent one, and one without a caption."""
    kinds = {0: ("video", "audio", "text"), 1: ("video", "text"), 3: ("audio", "text")}
    return [
        caption(seed, kinds[seed], TEXTS[seed]) if seed in TEXTS else caption(seed, ("text",), [30])
        for seed in range(4)
    ]


@functools.partial(jax.jit, static_argnums=(0, 3))
def write(graph, state, stream, beams):
    learner = nnx.merge(graph, state)
    return Captioning().generate(learner.heads["captioning"], stream, learner.trunk, beams)


def test_a_caption_known_by_heart_is_written(learner):
    clips = [{name: part for name, part in clip.items() if name != "text"} for clip in known_clips()]
    stream = on_device(make_stream(clips, 2, 3, spec=SPEC, hidden=()))
    found = write(*nnx.split(learner), stream, 1)
    assert found.written.tolist() == [[True, True, False], [True, False, False]]
    for number, text in TEXTS.items():
        row, slot = divmod(number, 3)
        wanted = [BEGIN, *text] + [END] * (SPEC.text.length - 1 - len(text))
        assert found.pieces[row, slot].tolist() == wanted
        assert np.exp(found.score[row, slot]) > 0.5


@functools.partial(jax.jit, static_argnums=0)
def next_chances(graph, state, stream):
    """Logarithm of the probability of what comes behind the last token of the only clip of every row."""
    learner = nnx.merge(graph, state)
    top = learner.trunk(stream).top
    last = stream.layout.real.sum(axis=1) - 1
    tokens = jnp.take_along_axis(top, last[:, None, None], axis=1)[:, 0]
    return jax.nn.log_softmax(learner.heads["captioning"].logits(tokens))


def slow_search(learner, clip, beams):
    """Beam search over texts that really grow, each beginning a stream of its own."""
    kept = [(0.0, [BEGIN])]
    for _ in range(SPEC.text.length - 1):
        going = [(score, text) for score, text in kept if text[-1] != END]
        more = [(score, text) for score, text in kept if text[-1] == END]
        if going:
            clips = [{**clip, "text": part(np.array(text, np.int32), None)} for _, text in going]
            stream = on_device(make_stream(clips + [None] * (beams - len(clips)), beams, 1, spec=SPEC, hidden=()))
            chances = np.asarray(next_chances(*nnx.split(learner), stream), np.float64)
            for (score, text), each in zip(going, chances, strict=False):
                more += [(score + chance, [*text, piece]) for piece, chance in enumerate(each)]
        kept = sorted(more, key=lambda pair: -pair[0])[:beams]
    return kept[0]


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_is_what_a_slow_search_finds(learner, beams):
    """Of clips that the learner has never seen, where it is of two minds."""
    clips = [random_clip(seed, kinds, hide=False) for seed, kinds in ((20, ("video",)), (21, ("video", "audio")))]
    found = write(*nnx.split(learner), on_device(make_stream(clips, 2, 3, spec=SPEC, hidden=())), beams)
    for slot, clip in enumerate(clips):
        score, text = slow_search(learner, clip, beams)
        assert found.pieces[0, slot].tolist() == text + [END] * (SPEC.text.length - len(text))
        np.testing.assert_allclose(found.score[0, slot], score, rtol=1e-4)


def test_captions_need_their_marks(learner):
    heads = Captioning().heads(SMALL, SILENT_MARKS, rngs=nnx.Rngs(0))
    stream = on_device(make_stream([random_clip(0)], 1, 1))
    with pytest.raises(ValueError, match="set input.text.begin to True"):
        Captioning().generate(heads, stream, learner.trunk)
