"""The weights of layers, stochastic depth, and the run of layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Block, Decoder, Fusion, Model, ModelDims, Sharing, model_dims
from mmvideo.model.layers.drop_path import drop_path_scales, drop_rates
from mmvideo.model.transformer.block import TransformerStack
from mmvideo.model.transformer.decoder import MaskedDecoder

NUMBERS = ModelDims(depth=4, width=12, heads=2, feed_forward=20)
ATTENTION, FEED_FORWARD, NORM = 4 * 12 * 12 + 4 * 12, 2 * 12 * 20 + 20 + 12, 2 * 12


def count(block=Block(), **settings):
    blocks = nnx.eval_shape(lambda: TransformerStack(NUMBERS, block, 1, rngs=nnx.Rngs(0), **settings))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(blocks)))


def test_each_choice_has_the_parameters_that_it_says():
    base = ATTENTION + FEED_FORWARD + 2 * NORM
    assert count() == base
    assert count(Block(norm="rms")) == base - 2 * 12
    assert count(Block(biases="none")) == base - 4 * 12 - 20 - 12
    assert count(Block(biases="qv")) == base - 12
    assert count(Block(qk_norm=True)) == base + 2 * 6
    assert count(Block(layer_scale=0.1)) == base + 2 * 12
    assert count(Block(activation="swiglu")) == base + 12 * 20 + 20
    two = ("video", "text")
    assert count(sharing="norms", modalities=two) == base + 2 * NORM
    assert count(sharing="feed_forward", modalities=two) == base + FEED_FORWARD + NORM
    assert count(sharing="nothing", modalities=two) == 2 * base
    assert count(sharing="everything", modalities=two) == base


def test_a_stack_of_both_parts_is_one_only_if_they_share_alike(build):
    same = build(fusion=Fusion("bottleneck", 1), sharing=Sharing("norms", "norms"))
    assert same.blocks.video["attention_scale"].shape == (3, 24)
    parted = build(fusion=Fusion("bottleneck", 1), sharing=Sharing("nothing", "norms"))
    assert parted.blocks["apart"].text["up_kernel"].shape == (1, 24, 48)
    assert parted.blocks["fused"].up_kernel.shape == (2, 24, 48)
    deep = build(fusion=Fusion("mid", 2), sharing=Sharing("nothing", "nothing"), depths={"audio": 5})
    assert deep.blocks["apart"].audio["up_kernel"].shape == (5, 24, 48)
    assert deep.blocks["apart"].video["up_kernel"].shape == (2, 24, 48)
    assert hash(deep.config) == hash(deep.config)


def test_stochastic_depth_grows_linearly_and_keeps_the_expectation():
    np.testing.assert_allclose(drop_rates(0.3, 0, 4, 4), [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(drop_rates(0.3, 2, 4, 4), [0.2, 0.3])
    np.testing.assert_allclose(drop_rates(0.3, 0, 2, 4, count=4), [0, 0.05, 0.1, 0.15])
    assert drop_rates(0.3, 0, 1, 1) == [0]
    rates = np.array([0, 0.25, 0.5])
    plain = np.asarray(drop_path_scales(jax.random.key(0), rates, 100, 100, rescale=False))
    kept = np.asarray(drop_path_scales(jax.random.key(0), rates, 100, 100))
    # scenic's: what is not skipped stays as it is.
    np.testing.assert_array_equal(plain, (kept > 0).astype(np.float32))
    assert kept.shape == (3, 2, 100, 100)
    for rate, layer in zip(rates, kept, strict=True):
        np.testing.assert_allclose(np.unique(layer), [1] if rate == 0 else [0, 1 / (1 - rate)], rtol=1e-6)
        # The deviation of a mean over 20,000 draws is at most 0.007.
        np.testing.assert_allclose(layer.mean(), 1, atol=0.03)
    assert abs(np.corrcoef(kept[2, 0].ravel(), kept[2, 1].ravel())[0, 1]) < 0.04


@pytest.mark.parametrize("sharing", [Sharing(), Sharing("nothing", "nothing")])
def test_clips_skip_branches_in_training_only(streams, build, sharing):
    """A clip whose two branches are skipped passes the second of two layers unchanged."""
    clip = streams.make_clip(1)
    stream = streams.make_stream([[clip, clip, clip]] * 8, length=48, budget=40)
    settings = dict(depth=2, fusion=Fusion("mid", 1), sharing=sharing)
    dropping, without = build(**settings, block=Block(drop_path=0.5)), build(**settings)
    nnx.update(dropping, nnx.state(without, nnx.Param))
    run = nnx.jit(lambda model, stream: model(stream).taps)
    own = [stream.layout.clip == slot for slot in range(3)]

    def clips(model):
        return np.stack([[np.asarray(tap)[mask].reshape(8, 15, -1) for mask in own] for tap in run(model, stream)])

    whole = clips(without)
    dropping.eval()
    np.testing.assert_allclose(clips(dropping), whole, atol=1e-6)
    dropping.train()
    first, second = clips(dropping), clips(dropping)
    # The first layer never drops; in the second each of 24 clips meets one of four fates, as a whole.
    np.testing.assert_allclose(first[0], whole[0], atol=1e-5)
    fates = []
    for one in first[1].reshape(24, -1):
        if all(np.abs(one - fate).max() > 1e-4 for fate in fates):
            fates.append(one)
    assert len(fates) == 4
    assert any(np.abs(whole[0, 0, 0].ravel() - fate).max() < 1e-4 for fate in fates)
    assert np.abs(first[1] - second[1]).max() > 1e-2


@pytest.mark.parametrize(
    "other",
    [dict(scan=False), dict(remat="full"), dict(remat="dots", scan=False), dict(attention="chunked", chunk=8)],
)
def test_how_rows_of_each_modality_are_run_changes_nothing(streams, build, other):
    stream = streams.make_stream([[streams.make_clip(1), streams.make_clip(2, audio=0)]])
    weight = (
        np.random.default_rng(0).normal(size=(*stream.layout.source_index.shape, 24))
        * stream.layout.is_token[..., None]
    )

    @nnx.jit
    def loss_and_gradient(model):
        return nnx.value_and_grad(lambda model: sum((tap * weight).sum() for tap in model(stream).taps))(model)

    settings = dict(
        fusion=Fusion("bottleneck", 1, bottlenecks=2), sharing=Sharing("nothing", "nothing"), class_tokens=1
    )
    loss, gradient = loss_and_gradient(build(**settings))
    same_loss, same_gradient = loss_and_gradient(build(**settings, **other))
    np.testing.assert_allclose(loss, same_loss, rtol=1e-5)
    leaves = jax.tree.leaves(gradient)
    assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 1
    for a, b in zip(leaves, jax.tree.leaves(same_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


def test_the_decoder_is_of_the_same_block_and_never_drops(streams, tiny):
    config = tiny(block=Block(norm="rms", activation="swiglu", drop_path=0.9, biases="none"), decoder=Decoder(2, 12, 2))
    decoder = MaskedDecoder(config, streams.SPEC, rngs=nnx.Rngs(0))
    names = set(nnx.to_pure_dict(nnx.state(decoder.blocks)))
    assert "gate_kernel" in names and not any(name.endswith("bias") for name in names)
    stream = jax.tree.map(jnp.asarray, streams.make_stream([[streams.make_clip(1, hide_video=2)]]))
    encoded = jnp.ones((1, 40, 24))
    np.testing.assert_array_equal(decoder(encoded, stream), decoder(encoded, stream))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Block(epsilon=0.0), "epsilon 0.0 must be above 0"),
        (lambda: Block(drop_path=1.0), r"drop_path 1.0 must be in \[0, 1\)"),
        (lambda: Block(soft_cap=0.0), "soft_cap 0.0 must be above 0"),
        (lambda: model_dims(Model(class_tokens=-1)), "class_tokens is -1"),
        (lambda: model_dims(Model(depths={"video": 2})), "needs model.sharing.apart nothing"),
        (lambda: model_dims(Model(depths={"smell": 2}, sharing=Sharing("nothing"))), "'smell': 2"),
        (lambda: model_dims(Model(depths={"video": 0}, sharing=Sharing("nothing"))), "'video': 0"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
