"""The contrastive objective on streams: separate captions, shifted audio, directions, blocks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.input.clip_loader import Tokens
from mmvideo.model.pool import Pooler
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Contrastive
from mmvideo.objectives.components.caption_pooling import pool_captions

THREE = dataclasses.replace(SPEC, text=dataclasses.replace(SPEC.text, captions=3))
NO_TRUNK = nnx.Module()
MEAN = Pooler("mean", 48, 4, rngs=nnx.Rngs(0))


def with_captions(clip, lengths, seed):
    """Return the clip with captions of these numbers of tokens."""
    draw = np.random.default_rng(seed)
    grid = np.array([(0, caption, place) for caption, length in enumerate(lengths) for place in range(length)])
    text_tokens, count = draw.integers(5, 40, len(grid)).astype(np.int32), len(grid)
    text = Tokens(text_tokens, np.zeros(count, bool), grid.astype(np.int32), np.zeros(count, np.float32))
    return {**clip, "text": text}


LENGTHS = [(3, 2), (4,), (1, 2, 3), (2, 2, 2)]


@pytest.fixture(scope="module")
def backbone():
    return MultimodalTransformer(TINY, THREE, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def clips():
    return [with_captions(random_clip(n, hide=False), lengths, n) for n, lengths in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def batch(backbone, clips):
    """Two rows of clips, the last without audio and one with shifted audio, and features of them."""
    clips = [*clips, random_clip(9, ("video", "text"), hide=False)]
    stream = make_stream(clips, rows=2, slots=3, spec=THREE, hidden=())
    stream.clips.aligned[0, 1] = False
    stream = jax.tree.map(jnp.asarray, stream)
    return stream, jax.jit(lambda stream: backbone(stream))(stream)


def evaluate(objective, stream, features, **changes):
    """Loss, metrics and embeddings, with the same heads whatever the settings."""
    heads = objective.heads(TINY, THREE, rngs=nnx.Rngs(1))
    objective = dataclasses.replace(objective, **changes)
    return *objective.loss(heads, features, stream, NO_TRUNK), objective.embeddings(heads, features, stream), heads


def test_captions_are_pooled_one_by_one(backbone, clips, batch):
    """As if each stood alone in a clip of its own."""
    stream, features = batch
    pooled, has = pool_captions(MEAN, features, 3, 3)
    assert has.sum(axis=-1).tolist() == [[2, 1, 3], [3, 1, 0]]
    for clip, caption in ((0, 1), (2, 2)):
        text = clips[clip]["text"]
        own = text.grid[:, 1] == caption
        lone = {"text": Tokens(text.content[own], text.hidden[own], text.grid[own] * [1, 0, 1], text.time[own])}
        alone = make_stream([lone], rows=1, slots=1, spec=THREE, hidden=())
        tokens = backbone(alone).tokens(("text",))[0, : own.sum()]
        np.testing.assert_allclose(pooled[clip // 3, clip % 3, caption], tokens.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_captions_beyond_the_most_are_left_out(batch):
    stream, features = batch
    all_three, _ = pool_captions(MEAN, features, 3, 3)
    two, has = pool_captions(MEAN, features, 3, 2)
    np.testing.assert_allclose(two, all_three[:, :, :2], rtol=1e-6)
    assert has.sum(axis=-1).tolist() == [[2, 1, 2], [2, 1, 0]]


def mil_nce(video, text, has, scale):
    """MIL-NCE in both directions, one clip at a time (float64)."""
    losses = []
    for i in range(len(video)):
        similar = np.exp(scale * np.einsum("nd,mkd->nmk", video, text)) * has
        own = similar[i, i].sum()
        losses.append(-np.log(own / (similar[i].sum() + similar[:, i].sum() - own)))
    return np.mean(losses)


@pytest.mark.parametrize("pair", ["video-text", "text-video"])
def test_any_caption_may_be_the_right_one(batch, pair):
    stream, features = batch
    objective = Contrastive((pair,), form="mil_nce", width=16, chunk=4)
    loss, metrics, embedded, heads = evaluate(objective, stream, features)
    pooled, has = pool_captions(MEAN, features, 3, 3)
    text = np.asarray(heads.projections["text"](pooled), np.float64).reshape(6, 3, 16)[:5]
    video = np.asarray(embedded["video"][0], np.float64).reshape(6, 16)[:5]
    np.testing.assert_allclose(loss, mil_nce(video, text, has.reshape(6, 3)[:5], 1 / 0.07), rtol=1e-5)
    assert metrics[f"{pair}/clips"] == 5
    assert 0 < metrics[f"{pair}/chance_loss"] < np.log(20)


def test_the_directions_of_a_turned_pair_are_turned(batch):
    there = Contrastive(("video-text",), form="mil_nce", width=16, direction="forward")
    back = Contrastive(("text-video",), form="mil_nce", width=16, direction="backward")
    heads = there.heads(TINY, THREE, rngs=nnx.Rngs(1))
    stream, features = batch
    one, other = (objective.loss(heads, features, stream, NO_TRUNK)[0] for objective in (there, back))
    both = dataclasses.replace(there, direction="both").loss(heads, features, stream, NO_TRUNK)[0]
    assert one == other < both


def test_features_are_compared_as_they_are(batch):
    """CAV-MAE: no projection, the mean of the tokens; each video finds its audio."""
    stream, features = batch
    objective = Contrastive(("video-audio",), width=None, direction="forward", temperature=0.05, learned=False)
    loss, metrics, embedded, heads = evaluate(objective, stream, features)
    assert nnx.state(heads, nnx.Param) == {}
    fine = [0, 2, 3]  # clip 1 has its sound shifted, clip 4 has none
    video, audio = (np.asarray(embedded[name][0], np.float64).reshape(6, 48)[:4] for name in ("video", "audio"))
    np.testing.assert_allclose(np.linalg.norm(video, axis=-1), 1, rtol=1e-5)
    logits = np.exp(video @ audio.T / 0.05)
    np.testing.assert_allclose(loss, np.mean([-np.log(logits[i, i] / logits[i].sum()) for i in fine]), rtol=1e-5)
    assert metrics["video-audio/clips"] == 3


def test_one_direction_only(batch):
    """The mean of the two directions is the loss of both."""
    stream, features = batch
    objective = Contrastive(("video-audio",), width=16)
    losses = {way: evaluate(objective, stream, features, direction=way)[0] for way in ("both", "forward", "backward")}
    assert losses["forward"] != losses["backward"]
    np.testing.assert_allclose(losses["both"], (losses["forward"] + losses["backward"]) / 2, rtol=1e-6)


@pytest.mark.parametrize("form", ["softmax", "sigmoid", "mil_nce"])
def test_shifted_sound_is_a_negative_only_where_a_pair_holds_both(batch, form):
    stream, features = batch
    pairs = ("video-text", "video-audio", "video+audio-text")
    objective = Contrastive(pairs, form=form, width=16, chunk=2)
    _, shifted, _, _ = evaluate(objective, stream, features)
    fine = dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, aligned=jnp.ones((2, 3), bool)))
    _, whole, _, _ = evaluate(objective, fine, features)
    assert [float(shifted[f"{pair}/clips"]) for pair in pairs] == [5, 3, 3]
    assert [float(whole[f"{pair}/clips"]) for pair in pairs] == [5, 4, 4]
    assert shifted["video-text/loss"] == whole["video-text/loss"]
    # Still a negative to the others: without it they would be told from two instead of three.
    if form == "softmax":
        np.testing.assert_allclose(shifted["video-audio/chance_loss"], np.log(4), rtol=1e-6)
    assert shifted["video-audio/loss"] != whole["video-audio/loss"]


@pytest.mark.parametrize("form", ["softmax", "sigmoid", "mil_nce"])
def test_blocks_change_no_metric(batch, form):
    stream, features = batch
    objective = Contrastive(("video-text", "video-audio"), form=form, width=16)
    _, whole, _, _ = evaluate(objective, stream, features)
    _, parts, _, _ = evaluate(objective, stream, features, chunk=2)
    for key in whole:
        np.testing.assert_allclose(parts[key], whole[key], rtol=1e-6, err_msg=key)


def test_a_caption_is_pooled_by_attention_to_itself(batch):
    """The pooled vector of a caption does not change with the others."""
    stream, features = batch
    pooler = Pooler("map", 48, 4, rngs=nnx.Rngs(3))
    pooled, has = pool_captions(pooler, features, 3, 3)
    assert has.sum(axis=-1).tolist() == [[2, 1, 3], [3, 1, 0]]
    first, _ = pool_captions(pooler, features, 3, 1)
    np.testing.assert_allclose(first[:, :, 0], pooled[:, :, 0], rtol=1e-5, atol=1e-6)


def test_attention_pools_the_sides(batch):
    stream, features = batch
    objective = Contrastive(("video-text",), width=16, pooling="map")
    loss, metrics, embedded, heads = evaluate(objective, stream, features)
    assert np.isfinite(loss) and metrics["video-text/clips"] == 5
    pooled, _ = heads.poolers["video"](features, features.tap(("video",)), ("video",), 3)
    np.testing.assert_allclose(embedded["video"][0], heads.projections["video"](pooled), rtol=1e-6)


def test_captions_have_no_class_tokens_of_their_own():
    with pytest.raises(ValueError, match="no caption of the 3 of a clip has a class token"):
        Contrastive(("video-text",), form="mil_nce", pooling="class").heads(TINY, THREE, rngs=nnx.Rngs(0))
    Contrastive(("video-text",), pooling="class").heads(TINY, THREE, rngs=nnx.Rngs(0))


def test_each_side_has_its_own_pooling_and_projection(batch):
    """SigLIP: images by attention and without projection, text from its last token through a linear map."""
    stream, features = batch
    objective = Contrastive(
        ("video-text", "audio-text"),
        width=48,
        pooling="map",
        poolings={"text": "last"},
        projection="none",
        projections={"text": "linear", "audio": "matrix"},
    )
    _, _, embedded, heads = evaluate(objective, stream, features)
    assert [heads.poolers[side].kind for side in ("video", "audio", "text")] == ["map", "map", "last"]
    assert sorted(heads.projections) == ["audio", "text"]
    for side in ("video", "audio", "text"):
        pooled, present = heads.poolers[side](features, features.tap((side,)), (side,), 3)
        wanted = np.asarray(pooled, np.float64)
        if side != "video":
            wanted = wanted @ np.asarray(heads.projections[side].dense.kernel[...], np.float64)
        wanted /= np.linalg.norm(wanted, axis=-1, keepdims=True).clip(1e-12)
        there = np.asarray(present)
        np.testing.assert_allclose(np.asarray(embedded[side][0])[there], wanted[there], atol=1e-5)
    assert hasattr(heads.projections["text"].dense, "bias") and not hasattr(heads.projections["audio"].dense, "bias")


def test_sides_and_widths_that_do_not_fit_are_named():
    for settings, message in (
        ({"poolings": {"audio": "last"}}, "contrastive.poolings names 'audio', but the sides are video, text"),
        ({"projections": {"sound": "none"}}, "contrastive.projections names 'sound'"),
    ):
        with pytest.raises(ValueError, match=message):
            Contrastive(("video-text",), **settings)
    with pytest.raises(ValueError, match="contrastive.width 16: video has no projection.*the 48 elements"):
        Contrastive(("video-text",), width=16, projections={"video": "none"}).heads(TINY, THREE, rngs=nnx.Rngs(0))
