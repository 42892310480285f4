"""Invariance of a clip's features to its neighbours, padding, an absent modality, and the run of layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Block, Fusion, Sharing
from mmvideo.stream import Modality

SCHEMES = {
    "early": Fusion("early"),
    "mid": Fusion("mid", 2, 1),
    "late": Fusion("late"),
}
EXACT = dict(atol=1e-5, rtol=0)


def run(model, stream):
    return nnx.jit(lambda model, stream: model(stream).taps)(model, stream)


def of_clip(taps, stream, row, slot, modality=None):
    """Return the taps of one clip, `[taps, tokens, D]`, in the order of the row."""
    member = stream.layout.clip[row] == slot
    if modality is not None:
        member &= stream.layout.modality[row] == modality
    return np.stack([np.asarray(tap)[row][member] for tap in taps])


@pytest.mark.parametrize("position", ["rotary", "sincos", "learned"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_packed_equals_separate(streams, build, scheme, position):
    model = build(fusion=SCHEMES[scheme], position=position)
    clips = [
        streams.make_clip(1),
        streams.make_clip(2, audio=0),
        streams.make_clip(3, video=0, text=2),
        streams.make_clip(4, text=0),
    ]
    packed = streams.make_stream([clips[:3], clips[3:]])
    alone = streams.make_stream([[clip] for clip in clips])
    together, separate = run(model, packed), run(model, alone)
    for number, (row, slot) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0)]):
        want = of_clip(separate, alone, number, 0)
        assert want.shape[1] > 0 and np.abs(want).mean() > 0.1
        np.testing.assert_allclose(of_clip(together, packed, row, slot), want, **EXACT)


def test_order_of_clips_in_a_row_does_not_matter(streams, build):
    model = build()
    clips = [streams.make_clip(seed, video=seed + 2) for seed in range(1, 4)]
    forward, turned = streams.make_stream([clips]), streams.make_stream([clips[::-1]])
    there, back = run(model, forward), run(model, turned)
    for slot in range(3):
        np.testing.assert_allclose(of_clip(there, forward, 0, slot), of_clip(back, turned, 0, 2 - slot), **EXACT)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_padding_content_is_irrelevant(streams, build, scheme):
    model = build(fusion=SCHEMES[scheme])
    rows = [[streams.make_clip(1), streams.make_clip(2)], [streams.make_clip(3)]]
    clean, dirty = streams.make_stream(rows), streams.make_stream(rows, garbage=7)
    real = dirty.layout.is_token
    for field, junk in (("source_index", 3), ("time", 1e3), ("grid", 5)):
        values = np.array(getattr(dirty.layout, field))
        values[~real] = junk
        dirty = dataclasses.replace(dirty, layout=dataclasses.replace(dirty.layout, **{field: values}))
    assert (dirty.content["audio"] != clean.content["audio"]).any() and not real.all()

    @nnx.jit
    def gradient(model, stream):
        mask = stream.layout.is_token[..., None]
        return nnx.grad(lambda model: jnp.square(jnp.where(mask, model(stream).top, 0)).mean())(model)

    for a, b in zip(run(model, clean), run(model, dirty), strict=True):
        np.testing.assert_allclose(np.asarray(a)[real], np.asarray(b)[real], **EXACT)
    for a, b in zip(jax.tree.leaves(gradient(model, clean)), jax.tree.leaves(gradient(model, dirty)), strict=True):
        np.testing.assert_allclose(a, b, **EXACT)


def test_an_absent_modality_changes_nothing_for_those_that_it_cannot_reach(streams, build):
    model = build()
    full, mute = streams.make_stream([[streams.make_clip(1)]]), streams.make_stream([[streams.make_clip(1, audio=0)]])
    with_sound, without = run(model, full), run(model, mute)
    for modality, free in ((Modality.VIDEO, 1), (Modality.TEXT, 2)):
        a, b = (of_clip(taps, stream, 0, 0, modality) for taps, stream in ((with_sound, full), (without, mute)))
        np.testing.assert_allclose(a[:free], b[:free], **EXACT)
        assert np.abs(a[-1] - b[-1]).max() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {},
        dict(fusion=Fusion("bottleneck", 1), sharing=Sharing("feed_forward", "nothing"), class_tokens=1),
        dict(fusion=Fusion("bottleneck", 1, modalities=("video", "audio")), sharing=Sharing("nothing")),
    ],
)
def test_a_stream_without_a_modality_runs(streams, build, settings):
    model = build(**settings)
    stream = streams.make_stream([[streams.make_clip(1, text=0)]])
    content = {name: values for name, values in stream.content.items() if name != "text"}
    want, got = run(model, stream), run(model, dataclasses.replace(stream, content=content))
    np.testing.assert_allclose(of_clip(got, stream, 0, 0), of_clip(want, stream, 0, 0), **EXACT)


@pytest.mark.parametrize(
    "other",
    [
        dict(scan=False),
        dict(remat="dots"),
        dict(remat="full"),
        dict(remat="full", scan=False),
        dict(attention="chunked", chunk=8),
    ],
)
def test_how_layers_are_run_changes_neither_values_nor_gradients(streams, build, other):
    stream = streams.make_stream([[streams.make_clip(1), streams.make_clip(2)]])
    weight = (
        np.random.default_rng(0).normal(size=(*stream.layout.source_index.shape, 24))
        * stream.layout.is_token[..., None]
    )

    @nnx.jit
    def loss_and_gradient(model):
        return nnx.value_and_grad(lambda model: sum((tap * weight).sum() for tap in model(stream).taps))(model)

    loss, gradient = loss_and_gradient(build())
    same_loss, same_gradient = loss_and_gradient(build(**other))
    np.testing.assert_allclose(loss, same_loss, rtol=1e-5)
    leaves = jax.tree.leaves(gradient)
    assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 1
    for a, b in zip(leaves, jax.tree.leaves(same_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        dict(position="learned"),
        dict(fusion=Fusion("bottleneck", 1), sharing=Sharing("nothing", "nothing"), class_tokens=1, registers=1),
        dict(sharing=Sharing("norms", "feed_forward"), block=Block(qk_norm=True, activation="swiglu", layer_scale=0.5)),
    ],
)
def test_every_parameter_is_used(streams, build, settings):
    model = build(**settings)
    stream = streams.make_stream([[streams.make_clip(1, video=24, audio=12, text=8)]], length=50)
    weight = (
        np.random.default_rng(0).normal(size=(*stream.layout.source_index.shape, 24))
        * stream.layout.is_token[..., None]
    )
    loss = nnx.jit(nnx.grad(lambda model: sum((tap * weight).sum() for tap in model(stream).taps)))
    gradient = loss(model)
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient)):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_bfloat16_is_close_to_float32(streams, build):
    stream = streams.make_stream([[streams.make_clip(1), streams.make_clip(2)]])
    model = build(compute="bfloat16")
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(model)))
    top = run(model, stream)[-1]
    assert top.dtype == jnp.bfloat16
    real = stream.layout.is_token
    error = np.asarray(top, np.float32)[real] - np.asarray(run(build(), stream)[-1])[real]
    # The features have unit variance: 8 bits of mantissa over three layers leave about a percent.
    assert np.sqrt(np.square(error).mean()) < 0.02


def test_a_modality_alone_passes_the_fused_layers_with_norms_of_its_own(streams, build):
    """CAV-MAE's second pass: as if the clip had this modality only and the fused layers these norms."""
    model = build(fusion=Fusion("mid", 1, alone=True), sharing=Sharing(apart="nothing"), class_tokens=1)
    rng = np.random.default_rng(0)
    for name in ("attention_scale", "feed_forward_bias"):
        for owner in (model.alone.video, model.alone.audio):
            owner[name][...] += rng.normal(size=owner[name].shape).astype(np.float32)
    clip = streams.make_clip(1)
    both, seen, heard = (
        streams.make_stream([[one]])
        for one in (clip, streams.make_clip(1, audio=0, text=0), streams.make_clip(1, video=0, text=0))
    )
    apart, fused = run(model, both)
    for modality, alone in ((Modality.VIDEO, seen), (Modality.AUDIO, heard)):
        owner, stack = getattr(model.alone, modality.name.lower()), model.blocks["fused"]
        kept = {name: jnp.array(getattr(stack, name)[...]) for name in owner}
        for name in owner:
            getattr(stack, name)[...] = owner[name][...]
        want = of_clip(run(model, alone)[1:], alone, 0, 0, modality)
        for name, value in kept.items():
            getattr(stack, name)[...] = value
        np.testing.assert_allclose(of_clip([apart], both, 0, 0, modality), want, **EXACT)
        assert np.abs(of_clip([fused], both, 0, 0, modality) - want).max() > 0.1
    for wrong, message in (
        (dict(fusion=Fusion("early", alone=True)), "for scheme mid"),
        (dict(fusion=Fusion("mid", 2, 1, alone=True)), "without a media_layer"),
        (dict(fusion=Fusion("mid", 1, alone=True), sharing=Sharing("nothing", "norms")), "to everything"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**wrong)


def test_the_embedding_norm_is_of_the_named_modalities_alone(streams, build):
    """An embedding norm: features don't change when embeddings of its modality are scaled and shifted."""
    stream = streams.make_stream([[streams.make_clip(1)]])
    model = build(
        fusion=Fusion("late"), embedding_norm=("video",), block=Block(epsilon=1e-12), class_tokens=1, position="none"
    )
    before = run(model, stream)
    for name in ("video", "audio"):
        dense = getattr(model.embed, name).dense
        dense.kernel[...], dense.bias[...] = 3 * dense.kernel[...], 3 * dense.bias[...]
    model.embed.modality.table[...] = 3 * model.embed.modality.table[...]
    model.extra.classes[...] = 3 * model.extra.classes[...]
    after = run(model, stream)
    for modality, same in ((Modality.VIDEO, True), (Modality.AUDIO, False)):
        a, b = (of_clip(taps, stream, 0, 0, modality) for taps in (before, after))
        assert (np.abs(a - b).max() < 1e-4) == same
    with pytest.raises(ValueError, match="embedding_norm has 'smell'"):
        build(embedding_norm=("smell",))
