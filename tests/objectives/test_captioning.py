"""Captioning: against a slow reference, with the tokens that count and the requirements of a run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import END, SMALL, SPEC, caption
from flax import nnx
from synthetic_streams import TINY, make_stream, part, random_clip

from mmvideo.model.config import Fusion, Sharing
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import stages
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Captioning
from mmvideo.stream import PADDING, Modality

KINDS = [("video", "audio", "text"), ("video", "text"), ("audio", "text"), ("video", "audio"), ("text",)]


def captioned_clips():
    texts = [[7, 8, 9], [10], [11, 12], [], [5, 6]]
    clips = [caption(seed, kinds, text) for seed, (kinds, text) in enumerate(zip(KINDS, texts, strict=True))]
    return [caption(9, ("video", "text"), [20, 21], captions=[[30, 31, 32]], hidden=(1,)), *clips]


def made_features(stream, seed=0):
    """Return features of any backbone: noise in the rows of the stream."""
    shape = (*stream.layout.modality.shape, 48)
    top = jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
    none = jnp.zeros((*stream.clips.present.shape, 0, 48))
    return Features((top,), stream.layout, (none,), None, stages(Fusion("early", text="causal"), 1), SPEC.modalities)


def on_device(stream):
    return jax.tree.map(jnp.asarray, stream)


def reference(objective, clips, slots, features, kernel, bias):
    """Return loss, accuracy, and the gradients of tokens, kernel and bias, token by token."""
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
    _, text_tokens, _ = Captioning().next_tokens(on_device(make_stream(clips, 1, 2)))
    place = Captioning().next_tokens(on_device(make_stream(clips, 1, 2)))[0]
    assert [int(piece) for piece in text_tokens[0][place[0] != PADDING]] == [8, 9, 3]


def test_dropped_pieces_are_not_bridged():
    """After a dropped token, the one before it predicts nothing: the next visible token does not follow it."""
    clip = caption(0, ("video", "text"), [7, 8, 9])
    kept = [0, 1, 3, 4]
    text = clip["text"]
    less = type(text)(text.content[kept], text.hidden[kept], text.grid[kept], text.time[kept])
    place, text_tokens, _ = Captioning().next_tokens(on_device(make_stream([{**clip, "text": less}], 1, 1, spec=SPEC)))
    assert [int(piece) for piece in text_tokens[0][place[0] != PADDING]] == [7, END]


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
    backbone = MultimodalTransformer(model, SPEC, rngs=nnx.Rngs(0))
    see = jax.jit(lambda stream: backbone(stream).taps)
    one, other = (
        on_device(make_stream([caption(0, ("video", "audio", "text"), text)], 1, 2, spec=SPEC))
        for text in ([7, 8, 9], [7, 20, 21])
    )
    real = int(one.layout.is_token.sum())
    for left, right in zip(see(one), see(other), strict=True):
        np.testing.assert_array_equal(left[0, : real - 3], right[0, : real - 3])
        assert (np.abs(left - right)[0, real - 3 : real].max(axis=-1) > 1e-3).all()
