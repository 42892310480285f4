"""Positions, embedding, pooling, heads, decoder, attention maps, sizes."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import SIZES, Decoder, Fusion, Model, Sharing, model_dims
from mmvideo.model.heads import LinearHead, ProjectionHead
from mmvideo.model.layers.basic import gelu
from mmvideo.model.positions.schemes import rotate, rotation, sincos
from mmvideo.model.transformer.decoder import MaskedDecoder
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import TokenLayout


def layout_at(time, y, x):
    """Return one row of tokens at the given cells."""
    time = np.asarray([time], np.float32)
    grid = np.stack([np.zeros_like(time), np.array([y]), np.array([x])], -1).astype(np.int32)
    zero = np.zeros(time.shape, np.int32)
    return TokenLayout(zero, zero, zero, time, grid)


def test_rotary_scores_depend_on_differences_of_seconds_and_cells_only():
    draw = np.random.default_rng(0)
    q, k = (jnp.asarray(np.repeat(draw.normal(size=(1, 1, 2, 12)), 3, axis=1), jnp.float32) for _ in "qk")

    def scores(time, y, x):
        turn = rotation(layout_at(time, y, x), 12)
        return jnp.einsum("bqnh,bknh->nqk", rotate(q, turn), rotate(k, turn))

    base = scores([0.1, 0.5, 2.0], [0, 1, 3], [5, 2, 2])
    moved = scores([7.1, 7.5, 9.0], [4, 5, 7], [8, 5, 5])
    np.testing.assert_allclose(base, moved, atol=1e-4)
    assert np.abs(base - scores([0.1, 0.6, 2.0], [0, 1, 3], [5, 2, 2])).max() > 0.05
    np.testing.assert_allclose(
        jnp.square(q).sum(-1), jnp.square(rotate(q, rotation(layout_at([1], [1], [1]), 12))).sum(-1), rtol=1e-5
    )


def test_sincos_tells_places_apart_and_shares_the_clock():
    places = layout_at([0, 0, 0, 0.5, 0.5], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0])
    rows = np.asarray(sincos(places, 36))[0]
    assert rows.shape == (5, 36)
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert distance[3, 4] == 0
    assert distance[:4, :4][~np.eye(4, dtype=bool)].min() > 0.1


def test_gelu_is_exact():
    x = np.linspace(-6, 6, 101)
    want = [0.5 * value * math.erfc(-value / math.sqrt(2)) for value in x]
    np.testing.assert_allclose(gelu(jnp.asarray(x, jnp.float32)), want, atol=1e-6)


def test_pixels_are_embedded_from_minus_one_to_one(streams, build):
    model = build()
    stream = jax.tree.map(jnp.asarray, streams.make_stream([[streams.make_clip(1, audio=0, text=0)]]))
    got = np.asarray(model.embed(stream))[0, :6]
    dense = model.embed.video.dense
    pixels = np.asarray(stream.content["video"], np.float64)[0, :6] / 255 * 2 - 1
    want = pixels @ np.asarray(dense.kernel[...]) + np.asarray(model.embed.modality.table[...])[0]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert (np.asarray(model.embed(stream))[0, 6:] == 0).all()


def test_heads_give_float32_and_unit_length():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 8)), jnp.bfloat16)
    embedding = ProjectionHead(8, 6, rngs=nnx.Rngs(0))(x)
    assert embedding.dtype == jnp.float32 and embedding.shape == (3, 2, 6)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=-1), 1, atol=1e-5)
    assert LinearHead(8, 5, rngs=nnx.Rngs(0))(x).shape == (3, 2, 5)
    at_zero = jax.grad(lambda x: ProjectionHead(8, 6, rngs=nnx.Rngs(0))(x).sum())(jnp.zeros((1, 8)))
    assert np.isfinite(at_zero).all()


@pytest.mark.parametrize(
    ("sees", "position"), [("modality", "rotary"), ("clip", "rotary"), ("clip", "sincos"), ("modality", "learned")]
)
def test_decoder_of_packed_clips_equals_that_of_separate_ones(streams, tiny, sees, position):
    config = tiny(position=position, decoder=Decoder(depth=2, width=12, heads=2, sees=sees))
    model, decoder = (kind(config, streams.SPEC, rngs=nnx.Rngs(0)) for kind in (MultimodalTransformer, MaskedDecoder))
    clips = [
        streams.make_clip(1, hide_video=3, hide_audio=2),
        streams.make_clip(2, audio=0, hide_video=4),
        streams.make_clip(3, hide_audio=1),
    ]
    packed, alone = streams.make_stream([clips]), streams.make_stream([[clip] for clip in clips])

    @nnx.jit
    def run(model, decoder, stream):
        return decoder(model(stream).top, stream)

    together, separate = run(model, decoder, packed), run(model, decoder, alone)
    for slot in range(3):
        mine, own = packed.decode.clip[0] == slot, alone.decode.clip[slot] == 0
        assert own.sum() == len(clips[slot]["video"][0]) + len(clips[slot]["audio"][0])
        np.testing.assert_allclose(together[0][mine], separate[slot][own], atol=1e-5)


def test_a_decoder_with_class_tokens_reads_those_of_each_clip_and_modality(streams, tiny):
    """Decoders of MAE and AudioMAE: a token attends to the class tokens of its clip (and modality) only."""
    clips = [
        streams.make_clip(1, hide_video=3, hide_audio=2),
        streams.make_clip(2, audio=0, hide_video=4),
        streams.make_clip(3, hide_audio=1),
    ]
    packed, alone = streams.make_stream([clips]), streams.make_stream([[clip] for clip in clips])
    for sees in ("modality", "clip"):
        decoder = Decoder(depth=2, width=12, heads=2, sees=sees, class_tokens=True)
        config = tiny(class_tokens=2, decoder=decoder)
        backbone, decoder = (
            kind(config, streams.SPEC, rngs=nnx.Rngs(0)) for kind in (MultimodalTransformer, MaskedDecoder)
        )

        @nnx.jit
        def run(backbone, decoder, stream, more):
            features = backbone(stream)
            return decoder(features.top, stream, features.classes[-1] + more)

        together, separate = run(backbone, decoder, packed, 0.0), run(backbone, decoder, alone, 0.0)
        assert together.shape[1] == packed.decode.clip.shape[1]
        for slot in range(3):
            mine, own = packed.decode.clip[0] == slot, alone.decode.clip[slot] == 0
            np.testing.assert_allclose(together[0][mine], separate[slot][own], atol=1e-5)
        other = np.zeros((1, packed.clips.clip_index.shape[1], 3, 2, 24), np.float32)
        other[0, 0, 0] = np.random.default_rng(0).normal(size=(2, 24))  # the picture's, of the first clip
        moved = np.abs(np.asarray(run(backbone, decoder, packed, other)) - together)[0].max(axis=-1) > 1e-4
        kind, clip = packed.decode.modality[0], packed.decode.clip[0]
        reached = (clip == 0) & ((kind == 0) | (sees == "clip"))
        np.testing.assert_array_equal(moved[clip >= 0], reached[clip >= 0])
    with pytest.raises(ValueError, match="set model.class_tokens to 1 or more"):
        MaskedDecoder(dataclasses.replace(config, class_tokens=0), streams.SPEC, rngs=nnx.Rngs(0))


def test_without_a_final_norm_the_taps_are_what_the_norm_would_have_normed(streams, tiny, build):
    stream = streams.make_stream([[streams.make_clip(1)]])
    normed, plain = build(class_tokens=1), build(class_tokens=1, final_norm=False)
    run = nnx.jit(lambda model, stream: (model(stream).taps, model(stream).classes))
    for with_norm, without in zip(run(normed, stream), run(plain, stream), strict=True):
        for a, b in zip(with_norm, without, strict=True):
            b = np.asarray(b, np.float64)
            assert np.abs(b - np.asarray(a)).max() > 0.1
            b = (b - b.mean(-1, keepdims=True)) / np.sqrt(b.var(-1, keepdims=True) + 1e-6)
            real = np.abs(np.asarray(a)).sum(-1) > 0
            np.testing.assert_allclose(np.asarray(a)[real], b[real], atol=1e-4)
    assert not any(str(path[0]) == "norms" for path, _ in nnx.to_flat_state(nnx.state(plain)))


def test_decoder_predicts_each_hidden_place_differently_and_not_from_what_was_hidden(streams, tiny):
    config = tiny()
    model, decoder = (kind(config, streams.SPEC, rngs=nnx.Rngs(0)) for kind in (MultimodalTransformer, MaskedDecoder))
    clip = streams.make_clip(1, hide_video=3, hide_audio=2)
    stream = streams.make_stream([[clip]])
    run = nnx.jit(lambda model, decoder, stream: decoder(model(stream).top, stream))
    out = np.asarray(run(model, decoder, stream))
    place = stream.targets["video"].target_index[0]
    hidden = out[0][place[place >= 0]]
    assert hidden.shape == (3, 12) and np.linalg.norm(hidden[0] - hidden[1]) > 1e-3
    content = {name: np.zeros_like(target.content) for name, target in stream.targets.items()}
    blank = {name: dataclasses.replace(target, content=content[name]) for name, target in stream.targets.items()}
    blind = dataclasses.replace(stream, targets=blank)
    np.testing.assert_array_equal(out, run(model, decoder, blind))
    with pytest.raises(ValueError, match="hides nothing"):
        decoder(jnp.zeros((1, 40, 24)), dataclasses.replace(stream, decode=None))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_attention_map_shows_the_spans_of_the_layer(streams, build, layer):
    model = build(fusion=Fusion("mid", 2, 1))
    stream = streams.make_stream([[streams.make_clip(1)]])
    weights = np.asarray(model.attention_map(stream, layer))
    assert weights.shape == (1, 2, 40, 40)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    from_video = weights[0, :, :6].sum(axis=(0, 1)) > 0
    assert from_video.sum() == {0: 6, 1: 11, 2: 15}[layer]
    with pytest.raises(ValueError, match="layers 0 to 2"):
        model.attention_map(stream, 3)


def test_attention_map_is_of_the_real_forward_pass(streams, build):
    """With equal keys a layer attends equally to all of its clip."""
    model = build(fusion=Fusion("early"))
    stream = streams.make_stream([[streams.make_clip(1)]])
    before = np.asarray(model.attention_map(stream, 2))
    model.blocks.qkv_kernel[...] = model.blocks.qkv_kernel[...].at[2, :, 1].set(0.0)
    flat = np.asarray(model.attention_map(stream, 2))[0, :, :15, :15]
    assert np.abs(before[0, :, :15, :15] - 1 / 15).max() > 1e-3
    np.testing.assert_allclose(flat, 1 / 15, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "own", "seen"),
    [
        (dict(fusion=Fusion("bottleneck", 1, bottlenecks=3)), 6, 6 + 3 + 1),
        (dict(fusion=Fusion("bottleneck", 1), sharing=Sharing("nothing", "nothing")), 6, 6 + 4 + 1),
        (dict(sharing=Sharing("everything", "feed_forward")), 15, 15 + 3),
        (dict(fusion=Fusion("late"), sharing=Sharing("nothing"), depths={"video": 2, "text": 4}), 6, 6 + 1),
        (dict(fusion=Fusion("cross", 1), sharing=Sharing("everything", "nothing")), 15, 15 + 3),
        (dict(fusion=Fusion("early", modalities=("video", "text"))), 10, 10 + 2),
    ],
)
def test_attention_map_leaves_out_what_extra_tokens_take(streams, build, settings, own, seen):
    """With equal keys a token has equal weights on all visible tokens, class tokens and copies included."""
    model = build(class_tokens=1, **settings)
    for path, kernel in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if path[-1] == "qkv_kernel":
            kernel[...] = kernel[...].at[:, :, 1].set(0.0)
    weights = np.asarray(model.attention_map(streams.make_stream([[streams.make_clip(1)]]), 2))
    from_video = weights[0, :, :6]
    assert (from_video > 0).sum() == 2 * 6 * own
    np.testing.assert_allclose(from_video[from_video > 0], 1 / seen, atol=1e-6)
    assert (weights[0, :, 15:] == 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_named_sizes_have_the_parameters_of_their_family(streams, size):
    model = nnx.eval_shape(lambda: MultimodalTransformer(Model(size=size), streams.SPEC, rngs=nnx.Rngs(0)))
    depth, width, _, inner = SIZES[size]
    blocks = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model.blocks)))
    assert blocks == depth * (4 * width * width + 2 * width * inner + 9 * width + inner)


def test_wrong_numbers_are_refused():
    for model, message in (
        (Model(size="XXL"), "XXL.*nano, tiny"),
        (Model(width=100, heads=3), "not a multiple"),
        (Model(depth=0), "model.depth is 0"),
        (Model(width=16, heads=4), "rotary positions need heads"),
        (Model(width=5, heads=1, position="sincos"), "sin-cos"),
    ):
        with pytest.raises(ValueError, match=message):
            model_dims(model)
