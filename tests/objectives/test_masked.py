"""Masked video, spectrogram and text: targets, losses and baselines against slow references on the same answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Decoder
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import MaskedPatches, MaskedText
from mmvideo.objectives.losses.masked_mean import gather_targets
from mmvideo.objectives.losses.patch_targets import PatchTargets
from mmvideo.stream import PADDING

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def wanted_patch(patch, channels, target="channel", epsilon="variance", pixels="unit"):
    """One patch in float64, as it is to be answered: mean 0 and unbiased deviation 1, or as it is."""
    patch = patch.astype(np.float64)
    if channels == 3:
        mean, deviation = {"unit": (0, 1), "signed": (0.5, 0.5), "imagenet": IMAGENET}[pixels]
        patch = ((patch / 255).reshape(-1, 3) - mean) / deviation
    if target == "raw":
        return patch.reshape(-1)
    each = patch.reshape(-1, 1 if target == "patch" else channels)
    if epsilon == "variance":
        deviation = np.sqrt(each.var(axis=0, ddof=1) + 1e-6)
    else:
        deviation = each.std(axis=0, ddof=1) + 1e-6
    return ((each - each.mean(axis=0)) / deviation).reshape(-1)


@pytest.mark.parametrize("modality, channels", [("video", 3), ("audio", 1)])
@pytest.mark.parametrize("epsilon", ["variance", "deviation"])
@pytest.mark.parametrize("target", ["raw", "patch", "channel"])
@pytest.mark.parametrize("pixels", ["unit", "imagenet", "signed"])
def test_targets_are_those_of_the_papers(modality, channels, target, epsilon, pixels):
    patches = np.random.default_rng(0).integers(0, 256, (2, 4, 96)).astype(np.uint8 if channels == 3 else np.float32)
    patches[1, 2] = 7  # flat: nothing but its mean
    targets = PatchTargets(pixels, target, epsilon)
    found, _, _ = targets.of(jnp.asarray(patches), modality)
    slow = [[wanted_patch(patch, channels, target, epsilon, pixels) for patch in row] for row in patches]
    np.testing.assert_allclose(found, slow, rtol=1e-4, atol=1e-4)
    again = targets.pictures(found, jnp.asarray(patches), modality)
    np.testing.assert_allclose(again, patches, rtol=1e-5, atol=1e-3)


def test_the_mean_of_a_normalised_patch_loses_as_defined():
    """(n - 1) / n, for n values a channel."""
    patches = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 96)), jnp.float32)
    for modality, count in (("video", 32), ("audio", 96)):
        mine, _, _ = PatchTargets().of(patches, modality)
        np.testing.assert_allclose(np.square(mine).mean(axis=-1), (count - 1) / count, rtol=1e-3)


def slow_error(answer, wanted, error, beta):
    """The error of one patch, a number at a time."""
    each = []
    for far in np.abs(answer - wanted):
        smooth = far**2 / (2 * beta) if far < beta else far - beta / 2
        each.append({"mse": far**2, "l1": far, "smooth_l1": smooth}[error])
    return np.mean(each)


NO_TRUNK = nnx.Module()
"""These objectives send nothing through the trunk again."""


@pytest.fixture(scope="module")
def batch():
    """Features and a stream in which one clip is silent, one blind and one wordless."""
    clips = [random_clip(0), random_clip(1, ("video", "text")), random_clip(2, ("audio",)), random_clip(3)]
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3))
    backbone = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    return clips, stream, backbone(stream)


def hidden_patches(clips, name):
    """Return row, index among the row's targets, and content of each hidden patch, in the order of the clips."""
    found, place = [], {0: 0, 1: 0}
    for row, clip in ((0, 0), (0, 1), (0, 2), (1, 3)):
        part = clips[clip].get(name)
        for patch in part.content[part.hidden] if part else ():
            found.append((row, place[row], patch))
            place[row] += 1
    return found


MODALITIES = (("video", 3), ("audio", 1))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target": "raw", "pixels": "signed", "error": "l1"},
        {"target": "patch", "pixels": "imagenet"},
        {"epsilon": "deviation", "error": "smooth_l1", "beta": 0.7},
    ],
    ids=["ours", "av-mae with l1", "mae", "videomae with smooth l1"],
)
def test_patch_losses_are_the_reference(batch, settings):
    """Values, and the gradient by an offset of every output."""
    clips, stream, features = batch
    objective = MaskedPatches(video=0.5, audio=2.0, **settings)
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    graph, state = nnx.split(heads)
    value_and_grad = jax.value_and_grad(
        lambda state: objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK), has_aux=True
    )
    (total, metrics), gradient = jax.jit(value_and_grad)(state)
    answers = heads(features, stream)
    error, beta = settings.get("error", "mse"), settings.get("beta", 1.0)
    how = {key: value for key, value in settings.items() if key in ("target", "epsilon", "pixels")}

    expected = {}
    for name, channels in MODALITIES:
        told = [
            (np.asarray(answers[name][row, place], np.float64), wanted_patch(patch, channels, **how))
            for row, place, patch in hidden_patches(clips, name)
        ]

        def reference(added, told=told):
            return np.mean([slow_error(answer + added, wanted, error, beta) for answer, wanted in told])

        def flat(wanted, channels=channels):
            if settings.get("target") == "patch":
                return np.zeros_like(wanted)
            each = wanted.reshape(-1, channels)
            return np.broadcast_to(each.mean(axis=0), each.shape).reshape(-1)

        none = np.zeros_like(told[0][0])
        expected[name] = reference(none)
        flat_loss = np.mean([slow_error(flat(wanted), wanted, error, beta) for _, wanted in told])
        np.testing.assert_allclose(metrics[f"{name}/loss"], expected[name], rtol=1e-5)
        np.testing.assert_allclose(metrics[f"{name}/mean_loss"], flat_loss, rtol=1e-5)
        slope = getattr(objective, name) * slopes(reference, [none])[0]
        np.testing.assert_allclose(gradient["answers"][name]["bias"].get_value(), slope, rtol=1e-4, atol=1e-6)
        assert metrics[f"{name}/tokens"] == len(told) == 6
        assert metrics[f"{name}/clips"] == 3
    np.testing.assert_allclose(total, 0.5 * expected["video"] + 2.0 * expected["audio"], rtol=1e-5)


def test_only_what_the_targets_hold_is_predicted(batch):
    """A decoder may predict a part of the hidden patches (VideoMAE v2): the rest adds no loss."""
    clips, stream, features = batch
    objective = MaskedPatches(audio=0.0)
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    video = stream.targets["video"]
    few = dataclasses.replace(
        video, target_index=video.target_index.at[:, 1].set(PADDING), clip=video.clip.at[:, 1].set(PADDING)
    )
    stream = dataclasses.replace(stream, targets={**stream.targets, "video": few})
    loss, metrics = objective.loss(heads, features, stream, NO_TRUNK)
    answers = heads(features, stream)["video"]
    losses = [
        slow_error(np.asarray(answers[row, place], np.float64), wanted_patch(patch, 3), "mse", 1)
        for row, place, patch in hidden_patches(clips, "video")
        if place != 1
    ]
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    assert metrics["video/tokens"] == len(losses) == 4


def test_a_decoder_of_any_depth_and_width(batch):
    _, stream, features = batch
    model = dataclasses.replace(TINY, decoder=Decoder(3, 40, 4, "clip"))
    objective = MaskedPatches()
    graph, state = nnx.split(objective.heads(model, SPEC, rngs=nnx.Rngs(1)))
    gradient = jax.jit(jax.grad(lambda state: objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)[0]))(
        state
    )
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradient))


def test_a_modality_of_weight_zero_is_left_out(batch):
    _, stream, features = batch
    objective = MaskedPatches(audio=0.0)
    _, metrics = objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)
    assert {key.split("/")[0] for key in metrics} == {"video"}


def test_pictures_are_the_answers_with_the_patch_put_back(batch):
    clips, stream, features = batch
    objective = MaskedPatches()
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    pictures, answers = objective.reconstruct(heads, features, stream), heads(features, stream)
    patch = clips[0]["audio"].content[0]
    np.testing.assert_allclose(
        pictures["audio"][0, 0], np.asarray(answers["audio"][0, 0]) * patch.std(ddof=1) + patch.mean(), atol=1e-4
    )
    pixels = clips[0]["video"].content[1].reshape(-1, 3).astype(np.float64)
    told = np.asarray(answers["video"][0, 0]).reshape(-1, 3) * pixels.std(axis=0, ddof=1) + pixels.mean(axis=0)
    np.testing.assert_allclose(pictures["video"][0, 0], np.clip(told, 0, 255).reshape(-1), atol=0.02)


def test_text_loss_is_the_reference(batch):
    clips, stream, features = batch
    objective = MaskedText()
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(2))
    loss, metrics = objective.loss(heads, features, stream, NO_TRUNK)
    logits = np.asarray(heads.logits(gather_targets(features.top, stream.targets["text"].target_index)), np.float64)
    hidden = [(0, 0, 0, 2), (0, 1, 0, 3), (0, 2, 1, 2), (0, 3, 1, 3), (1, 0, 3, 2), (1, 1, 3, 3)]
    told = [(logits[row, place], clips[clip]["text"].content[piece]) for row, place, clip, piece in hidden]

    def reference(added):
        return np.mean([np.log(np.exp(answer + added).sum()) - (answer + added)[wanted] for answer, wanted in told])

    np.testing.assert_allclose(loss, reference(np.zeros(40)), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], np.mean([answer.argmax() == wanted for answer, wanted in told]))
    assert (metrics["tokens"], metrics["clips"]) == (6, 3)
    graph, state = nnx.split(heads)
    gradient = jax.grad(lambda state: objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)[0])(state)
    slope = slopes(reference, [np.zeros(40)])[0]
    np.testing.assert_allclose(gradient["logits"]["bias"].get_value(), slope, rtol=1e-4, atol=1e-6)


def test_pieces_whose_tokens_the_trunk_dropped_are_no_loss(batch):
    """The rows of the taps may hold fewer tokens than the stream's: here all but the first hidden one, moved by one."""
    _, stream, features = batch
    objective = MaskedText()
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(2))
    place = stream.targets["text"].target_index
    taps = tuple(jnp.roll(tap, 1, axis=1) for tap in features.taps)
    there = jnp.broadcast_to(jnp.arange(taps[0].shape[1]) + 1, taps[0].shape[:2]) % taps[0].shape[1]
    moved = dataclasses.replace(features, taps=taps, place=there)
    loss, _ = objective.loss(heads, features, stream, NO_TRUNK)
    np.testing.assert_allclose(objective.loss(heads, moved, stream, NO_TRUNK)[0], loss, rtol=1e-6)
    fewer = dataclasses.replace(moved, place=there.at[0, place[0, 0]].set(PADDING))
    _, metrics = objective.loss(heads, fewer, stream, NO_TRUNK)
    assert metrics["tokens"] == 5


def test_hidden_pieces_are_read_where_they_stand(batch):
    """The layout of a target's token says which token of which clip it is."""
    _, stream, _ = batch
    grid = stream.layout.grid.astype(jnp.float32)
    at = gather_targets(grid, stream.targets["text"].target_index)
    assert at[0, :5, 2].tolist() == [2, 3, 2, 3, 0]
