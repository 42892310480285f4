"""Masked video, spectrogram and text: targets, losses and baselines against slow references on the same answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.transformer import MultimodalTransformer
from mmvideo.objectives import MaskedPatches, MaskedText
from mmvideo.objectives.counting import tokens_at
from mmvideo.objectives.masked_patches import normalise_patches


def normalised(patch, channels):
    """One patch in float64: each channel with mean 0 and unbiased deviation 1."""
    each = patch.astype(np.float64).reshape(-1, channels)
    return ((each - each.mean(axis=0)) / np.sqrt(each.var(axis=0, ddof=1) + 1e-6)).reshape(-1)


@pytest.mark.parametrize("channels", [1, 3])
def test_targets_are_normalised_patch_by_patch(channels):
    patches = np.random.default_rng(0).normal(3, 2, (2, 4, 96)).astype(np.float32)
    patches[1, 2] = 0.7  # flat: nothing but its mean
    mine, mean, deviation = normalise_patches(jnp.asarray(patches), channels)
    slow = np.stack([[normalised(patch, channels) for patch in row] for row in patches])
    np.testing.assert_allclose(mine, slow, rtol=1e-4, atol=2e-4)
    again = np.asarray(mine).reshape(2, 4, -1, channels) * deviation + mean
    np.testing.assert_allclose(again.reshape(patches.shape), patches, rtol=1e-5, atol=1e-5)
    # The mean's loss is (n - 1) / n by definition, with n numbers a channel.
    count = 96 // channels
    np.testing.assert_allclose(np.square(mine).mean(axis=-1)[0], (count - 1) / count, rtol=1e-4)


NO_TRUNK = nnx.Module()
"""These objectives send nothing through the trunk again."""


@pytest.fixture(scope="module")
def batch():
    """Features and a stream in which one clip is silent, one blind and one wordless."""
    clips = [random_clip(0), random_clip(1, ("video", "text")), random_clip(2, ("audio",)), random_clip(3)]
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3))
    trunk = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    return clips, stream, trunk(stream)


@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "raw"])
def test_patch_losses_are_the_reference(batch, normalise):
    clips, stream, features = batch
    objective = MaskedPatches(video=0.5, audio=2.0, normalise=normalise)
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    total, metrics = objective.loss(heads, features, stream, NO_TRUNK)
    answers = heads(features, stream)
    expected = {}
    for name, channels, unit in (("video", 3, 255.0), ("audio", 1, 1.0)):
        losses, flat = [], []
        # Hidden patches stand row by row in the order of the clips.
        order = [(row, clip) for row, clip in ((0, 0), (0, 1), (0, 2), (1, 3)) if name in clips[clip]]
        place = {0: 0, 1: 0}
        for row, clip in order:
            for patch in clips[clip][name].content[clips[clip][name].hidden]:
                patch = patch.astype(np.float64) / unit
                wanted = normalised(patch, channels) if normalise else patch
                answer = np.asarray(answers[name][row, place[row]], np.float64)
                losses.append(np.square(answer - wanted).mean())
                each = wanted.reshape(-1, channels)
                flat.append(np.square(each - each.mean(axis=0)).mean())
                place[row] += 1
        expected[name] = np.mean(losses)
        np.testing.assert_allclose(metrics[f"{name}/loss"], np.mean(losses), rtol=1e-5)
        np.testing.assert_allclose(metrics[f"{name}/mean_loss"], np.mean(flat), rtol=1e-5)
        assert metrics[f"{name}/tokens"] == len(losses) == 6
        assert metrics[f"{name}/clips"] == len(order) == 3
    np.testing.assert_allclose(total, 0.5 * expected["video"] + 2.0 * expected["audio"], rtol=1e-5)


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
    logits = np.asarray(heads.logits(tokens_at(features.top, stream.targets["text"].place)), np.float64)
    losses, right = [], []
    for row, place, clip, piece in [(0, 0, 0, 2), (0, 1, 0, 3), (0, 2, 1, 2), (0, 3, 1, 3), (1, 0, 3, 2), (1, 1, 3, 3)]:
        answer, wanted = logits[row, place], clips[clip]["text"].content[piece]
        losses.append(np.log(np.exp(answer).sum()) - answer[wanted])
        right.append(answer.argmax() == wanted)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(right), rtol=1e-6)
    assert (metrics["tokens"], metrics["clips"]) == (6, 3)


def test_hidden_pieces_are_read_where_they_stand(batch):
    """Of the token at a target's place: its layout tells which piece of which clip it is."""
    _, stream, _ = batch
    grid = stream.layout.grid.astype(jnp.float32)
    at = tokens_at(grid, stream.targets["text"].place)
    assert at[0, :5, 2].tolist() == [2, 3, 2, 3, 0]
