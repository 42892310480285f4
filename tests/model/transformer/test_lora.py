"""Low-rank updates: nothing at first, the stated sum afterwards, and the same model when merged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from streams import SPEC, make_clip, make_stream

from mmvideo.model.config import Block, Fusion, Model, Sharing, VideoEncoder
from mmvideo.model.transformer.lora import add_lora, merge_lora, merged_parameters, stacks
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer

EVERYTHING = ("query", "key", "value", "out", "gate", "up", "down")
PLAIN = Model(depth=3, width=16, heads=2, feed_forward=24, fusion=Fusion("mid", 2, 1), compute="float32")
MODELS = {
    "shared": (PLAIN, ("query", "key", "value", "out", "up", "down")),
    "own": (
        Model(
            depth=3,
            width=16,
            heads=2,
            feed_forward=24,
            fusion=Fusion("mid", 2),
            sharing=Sharing("nothing", "feed_forward"),
            depths={"audio": 1},
            block=Block(activation="swiglu"),
            compute="float32",
        ),
        EVERYTHING,
    ),
    "factorised": (
        Model(
            depth=2,
            width=16,
            heads=2,
            feed_forward=24,
            fusion=Fusion("late"),
            video_encoder=VideoEncoder(2),
            compute="float32",
        ),
        ("query", "value"),
    ),
}


@pytest.fixture(scope="module")
def stream():
    return make_stream([[make_clip(1), make_clip(2, audio=0)], [make_clip(3, text=2)]])


def build(model):
    return MultimodalTransformer(model, SPEC, rngs=nnx.Rngs(0))


def run(backbone, stream):
    graph, state = nnx.split(backbone)
    real = stream.layout.is_token[..., None]
    return np.where(real, jax.jit(lambda state: nnx.merge(graph, state)(stream).top)(state), 0)


def stir(backbone):
    """Set every B to random values, so that the updates have an effect."""
    for number, blocks in enumerate(stacks(backbone)):
        state = nnx.state(blocks.lora)
        for place, (path, leaf) in enumerate(nnx.to_flat_state(state)):
            if path[-1].endswith("_b_kernel"):
                draw = np.random.default_rng([number, place]).normal(size=leaf.get_value().shape)
                leaf.set_value(jnp.asarray(0.3 * draw, jnp.float32))
        nnx.update(blocks.lora, state)


@pytest.mark.parametrize("name", MODELS)
def test_at_first_nothing_changes_and_merged_it_is_the_same_model(name, stream):
    model, targets = MODELS[name]
    backbone = build(model)
    before = run(backbone, stream)
    names = set(map(str, nnx.to_pure_dict(nnx.state(backbone, nnx.Param))))
    add_lora(backbone, 2, 4.0, targets, rngs=nnx.Rngs(1))
    np.testing.assert_array_equal(run(backbone, stream), before)
    stir(backbone)
    adapted = run(backbone, stream)
    assert np.abs(adapted - before).max() > 0.05
    saved = {".".join(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(nnx.state(backbone, nnx.Param))}
    merge_lora(backbone)
    np.testing.assert_allclose(run(backbone, stream), adapted, atol=1e-5)
    assert set(map(str, nnx.to_pure_dict(nnx.state(backbone, nnx.Param)))) == names
    # What a checkpoint with the updates gives to a model without them.
    merged = merged_parameters({f"trunk.{name}": np.asarray(value) for name, value in saved.items()}, lambda r: 4.0 / r)
    plain = {".".join(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(nnx.state(backbone, nnx.Param))}
    assert merged.keys() == {f"trunk.{name}" for name in plain}
    for name, value in plain.items():
        np.testing.assert_allclose(merged[f"trunk.{name}"], value, atol=1e-6, err_msg=name)


def test_a_matrix_becomes_the_stated_sum():
    """Layer by layer in float64: W + (alpha / r) A B, of queries and values and of no key."""
    backbone = build(PLAIN)
    add_lora(backbone, 3, 6.0, ("query", "value", "out", "down"), rngs=nnx.Rngs(1))
    stir(backbone)
    weights, lora = backbone.blocks.layers(), {k: np.asarray(v, np.float64) for k, v in backbone.blocks.lora.items()}
    qkv, out, down = (np.asarray(getattr(backbone.blocks, f"{name}_kernel")[...]) for name in ("qkv", "out", "down"))
    for layer in range(3):
        for part, name in enumerate(("query", "key", "value")):
            wanted = np.asarray(qkv[layer, :, part], np.float64).reshape(16, 16)
            if name != "key":
                b = lora[f"{name}_b_kernel"][layer].reshape(3, 16)
                wanted = wanted + 2.0 * lora[f"{name}_a_kernel"][layer] @ b
            got = np.asarray(weights["qkv_kernel"][layer, :, part]).reshape(16, 16)
            np.testing.assert_allclose(got, wanted, atol=1e-6)
        a, b = lora["out_a_kernel"][layer].reshape(16, 3), lora["out_b_kernel"][layer]
        wanted = out[layer].reshape(16, 16) + 2.0 * a @ b
        np.testing.assert_allclose(np.asarray(weights["out_kernel"][layer]).reshape(16, 16), wanted, atol=1e-6)
        wanted = down[layer] + 2.0 * lora["down_a_kernel"][layer] @ lora["down_b_kernel"][layer]
        np.testing.assert_allclose(weights["down_kernel"][layer], wanted, atol=1e-6)
    np.testing.assert_array_equal(weights["up_kernel"], backbone.blocks.up_kernel[...])


def test_a_matrix_that_no_layer_has_is_named():
    with pytest.raises(ValueError, match="tune.lora.targets: no layer of this model has a matrix gate"):
        add_lora(build(PLAIN), 2, 4.0, ("query", "gate"), rngs=nnx.Rngs(0))
