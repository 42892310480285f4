"""The factorised encoder of video: a step's token is independent of other steps; the backbone gets one per step."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Block, Fusion, Model, VideoEncoder
from mmvideo.model.pool import Pooler
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.model.transformer.step_groups import layer_products
from mmvideo.stream import PADDING, PatchSpec, StreamSpec

STEP = 6
"""Tokens of a whole step in the tests' streams; a clip has 4 steps at most."""


@nnx.jit
def steps(model, stream):
    """Return the rows that enter the backbone."""
    model.eval()
    stream = jax.tree.map(jnp.asarray, stream)
    budgets = {name: content.shape[1] for name, content in stream.content.items()}
    x, rows, _ = model.space(model.embed(stream), stream.layout, stream.clips.clip_index.shape[1], budgets)
    return x, rows.layout


@nnx.jit
def run(model, stream):
    model.eval()
    return model(stream)


def tokens_of(x, layout, row, slot, modality=0):
    """Return the tokens of a clip's modality."""
    own = (np.asarray(layout.clip)[row] == slot) & (np.asarray(layout.modality)[row] == modality)
    return np.asarray(x)[row][own]


def only_step(clip, step):
    """Return a clip of one step of another clip's visible video, as its first step."""
    content, time, grid, hidden = clip["video"]
    own = (grid[:, 0] == step) & (np.arange(len(grid)) < len(grid) - hidden)
    return clip | {"video": (content[own], time[own] * 0, grid[own] * [0, 1, 1], 0)}


@pytest.mark.parametrize(("pooling", "position"), [("mean", "rotary"), ("class", "learned"), ("class", "sincos")])
def test_each_step_is_as_if_it_were_alone(streams, build, pooling, position):
    model = build(position=position, video_encoder=VideoEncoder(2, pooling))
    clips = [streams.make_clip(1, video=20, hide_video=4), streams.make_clip(2, video=9, audio=0)]
    x, layout = steps(model, streams.make_stream([[*clips, streams.make_clip(3, video=0)]], length=60))
    for slot, count in enumerate((3, 2)):
        alone = streams.make_stream([[only_step(clips[slot], step)] for step in range(count)], length=60)
        each, each_layout = steps(model, alone)
        want = np.concatenate([tokens_of(each, each_layout, row, 0) for row in range(count)])
        np.testing.assert_allclose(tokens_of(x, layout, 0, slot), want, atol=1e-5)
    assert len(tokens_of(x, layout, 0, 2)) == 0


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_the_space_encoder_is_the_trunk_on_a_single_frame(streams, build, tiny, pooling):
    model = build(video_encoder=VideoEncoder(2, pooling))
    frame = StreamSpec(video=dataclasses.replace(streams.SPEC.video, grid=(1, 2, 3)))
    config = tiny(depth=2, fusion=Fusion("late"), class_tokens=int(pooling == "class"))
    backbone = MultimodalTransformer(config, frame, rngs=nnx.Rngs(1))
    nnx.update(backbone.blocks, nnx.state(model.space.blocks))
    nnx.update(backbone.norms["apart"], nnx.state(model.space.norm))
    nnx.update(backbone.embed.video, nnx.state(model.embed.video))
    nnx.update(backbone.embed.modality, nnx.state(model.embed.modality))
    if pooling == "class":
        backbone.extra.classes[...] = model.space.class_token[...]
    stream = streams.make_stream([[only_step(streams.make_clip(1, audio=0, text=0), 0)]])
    x, layout = steps(model, stream)
    stream = dataclasses.replace(stream, content={"video": stream.content["video"]})
    want, _ = Pooler(pooling, 24, 2, rngs=nnx.Rngs(0))(run(backbone, stream), 0, ("video",), 4)
    np.testing.assert_allclose(tokens_of(x, layout, 0, 0)[0], want[0, 0], atol=1e-5)


def test_a_row_for_each_step_gives_what_one_row_of_all_gives(streams, build):
    """In a row full of whole clips each step has a row of its own; in a row with empty slots steps share one."""
    model = build(video_encoder=VideoEncoder(2, "class"))
    clip = streams.make_clip(1, video=22)
    full, roomy = (streams.make_stream([[clip]], slots=slots, budget=24) for slots in (1, 4))
    numbers = model.space.dims
    assert (
        layer_products(4 * 7, 7, numbers) < layer_products(24 + 4, 24 + 4, numbers) < layer_products(16 * 7, 7, numbers)
    )
    (x, layout), (y, other) = steps(model, full), steps(model, roomy)
    np.testing.assert_allclose(tokens_of(x, layout, 0, 0), tokens_of(y, other, 0, 0), atol=1e-5)
    assert len(tokens_of(x, layout, 0, 0)) == 4


def test_tokens_of_a_step_may_stand_in_any_order(streams, build):
    """Unsorted steps, as after hidden tokens are appended to the visible ones."""
    model = build(video_encoder=VideoEncoder(1, "class"))
    clips = [streams.make_clip(1, video=24), streams.make_clip(2, video=8)]
    stream = streams.make_stream([clips], length=60, budget=40)
    layout = stream.layout
    order = np.arange(60)
    order[:24] = np.random.default_rng(0).permutation(24)
    mixed = dataclasses.replace(stream, layout=jax.tree.map(lambda field: field[:, order], layout))
    for a, b in zip(jax.tree.leaves(steps(model, stream)), jax.tree.leaves(steps(model, mixed)), strict=True):
        if a.dtype == jnp.float32:
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_rows_of_the_features_hold_a_token_a_step_and_all_the_others(streams, build):
    stream = streams.make_stream([[streams.make_clip(1, video=15), streams.make_clip(2, video=2)]], length=60)
    features = run(build(video_encoder=VideoEncoder(1, "mean")), stream)
    layout = jax.tree.map(np.asarray, features.layout)
    kinds = [0] * 3 + [1] * 5 + [2] * 4 + [0] + [1] * 5 + [2] * 4
    assert layout.modality[0].tolist() == kinds + [PADDING] * (len(layout.modality[0]) - len(kinds))
    assert layout.clip[0, : len(kinds)].tolist() == [0] * 12 + [1] * 10
    np.testing.assert_array_equal(layout.grid[0, :3], [[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    np.testing.assert_allclose(layout.time[0, :3], [0.125, 0.375, 0.625])
    place = np.asarray(features.place)[0]
    real = stream.layout.modality[0] > 0
    assert (place[~real] == PADDING).all()
    for field in ("modality", "clip", "time", "grid"):
        np.testing.assert_array_equal(getattr(layout, field)[0][place[real]], getattr(stream.layout, field)[0][real])
    assert features.top.shape == (1, len(layout.modality[0]), 24)


def test_packed_equals_separate(streams, build):
    model = build(video_encoder=VideoEncoder(1, "class"), class_tokens=1)
    clips = [streams.make_clip(1, video=20), streams.make_clip(2, video=7, audio=0), streams.make_clip(3, video=0)]
    packed = run(model, streams.make_stream([clips], length=60))
    alone = run(model, streams.make_stream([[clip] for clip in clips], length=60))
    for tap, other in zip(packed.taps, alone.taps, strict=True):
        for slot in range(3):
            for modality in range(3):
                together = tokens_of(tap, packed.layout, 0, slot, modality)
                separate = tokens_of(other, alone.layout, slot, 0, modality)
                np.testing.assert_allclose(together, separate, atol=1e-5)
    for slot, there in enumerate(([0, 1, 2], [0, 2], [1, 2])):
        classes = packed.classes[-1][0, slot], alone.classes[-1][slot, 0]
        np.testing.assert_allclose(*(tokens[np.array(there)] for tokens in classes), atol=1e-5)


def test_every_parameter_is_used_and_branches_are_dropped_in_training_only(streams, build):
    block = Block(drop_path=0.9, layer_scale=1.0)
    model = build(video_encoder=VideoEncoder(2, "class"), position="learned", block=block)
    stream = streams.make_stream([[streams.make_clip(1, video=24, audio=12, text=8)]], length=60)

    @nnx.jit
    def gradient(model):
        model.eval()
        shape = jax.eval_shape(lambda: model(stream).top).shape
        weight = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)

        def loss(model):
            features = model(stream)
            return sum(jnp.where(features.layout.is_token[..., None], tap * weight, 0).sum() for tap in features.taps)

        return nnx.grad(loss)(model)

    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient(model))):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path

    @nnx.jit
    def dropped(model, stream):
        model.train()
        budgets = {name: content.shape[1] for name, content in stream.content.items()}
        x, clips = model.embed(stream), stream.clips.clip_index.shape[1]
        return [model.space(x, stream.layout, clips, budgets)[0] for _ in range(2)]

    alone = streams.make_stream([[streams.make_clip(1, video=24, audio=0, text=0)]], slots=1, budget=24)
    for one in (stream, alone):
        once, again = dropped(model, jax.tree.map(jnp.asarray, one))
        assert np.abs(once - again).max() > 1e-3
    np.testing.assert_array_equal(steps(model, stream)[0], steps(model, stream)[0])


def test_runs_and_streams_without_video_need_no_space(streams, build, tiny):
    config = tiny(video_encoder=VideoEncoder(1, "mean"))
    deaf = StreamSpec(audio=streams.SPEC.audio, text=streams.SPEC.text)
    assert MultimodalTransformer(config, deaf, rngs=nnx.Rngs(0)).space is None
    stream = streams.make_stream([[streams.make_clip(1, video=0)]])
    index = np.maximum(stream.layout.source_index - stream.content["video"].shape[1], 0)
    content = {name: stream.content[name] for name in ("audio", "text")}
    blind = dataclasses.replace(stream, content=content, layout=dataclasses.replace(stream.layout, source_index=index))
    model = build(video_encoder=VideoEncoder(1, "mean"))
    one, two = run(model, stream), run(model, blind)
    assert two.place is None
    for modality in (1, 2):
        np.testing.assert_allclose(
            tokens_of(one.top, one.layout, 0, 0, modality), tokens_of(two.top, two.layout, 0, 0, modality), atol=1e-5
        )


def test_a_space_encoder_has_layers(build):
    with pytest.raises(ValueError, match="video_encoder.depth is 0"):
        build(video_encoder=VideoEncoder(0))


def test_vivit_b_has_its_published_parameters():
    """ViViT-B/16x2, factorised encoder: 115.1 million with the classifier of 400 classes (table 2 of the paper)."""
    spec = StreamSpec(video=PatchSpec((2, 16, 16, 3), (16, 14, 14), 0.16))
    config = Model(
        size="B", depth=4, fusion=Fusion("late"), position="learned_1d", class_tokens=1, video_encoder=VideoEncoder(12)
    )
    model = nnx.eval_shape(lambda: MultimodalTransformer(config, spec, rngs=nnx.Rngs(0)))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert (count + 768 * 400 + 400) / 1e6 == pytest.approx(115.1, abs=0.05)
