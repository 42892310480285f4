"""Products in 8-bit floats: within the error of the format, and accurate enough for training."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from mmvideo.model.config import Block, Model, ModelDims
from mmvideo.model.layers import fp8
from mmvideo.model.transformer.block import TransformerStack
from mmvideo.model.transformer.run_layers import ComputeConfig, run_layers

QUANTIZED = Block(quantized="fp8")


def test_a_missing_qwix_is_named_with_its_install(monkeypatch):
    monkeypatch.setattr("mmvideo.model.layers.fp8.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"model.block.quantized fp8 needs .* pip install 'mmvideo\[fp8\]'"):
        TransformerStack(ModelDims(1, 8, 1, 8), QUANTIZED, rngs=nnx.Rngs(0))


@pytest.fixture
def qwix():
    return pytest.importorskip("qwix", reason="qwix is not installed: pip install 'mmvideo[fp8]'")


def layers_of(depth=2, width=32):
    return TransformerStack(ModelDims(depth, width, 2, 4 * width), rngs=nnx.Rngs(0)).layers()


def run(x, layers, block, remat="none"):
    spans = jnp.broadcast_to(jnp.asarray([0, x.shape[1]]), (*x.shape[:2], 2))
    return run_layers(x, layers, spans, None, ComputeConfig.of(Model(block=block, attention="xla", remat=remat)))


@pytest.mark.parametrize(
    ("subscripts", "x", "kernel"),
    [("bld,dcnh->blcnh", (3, 7, 64), (64, 3, 2, 5)), ("blnh,nhd->bld", (3, 7, 4, 16), (4, 16, 9))],
)
def test_errors_are_those_of_the_format(qwix, subscripts, x, kernel):
    """With 3 bits of mantissa a number is off by at most 2^-4 of itself, and below the smallest normal one, 2^-6 of 448
    at the largest of its row, by at most 2^-10 of 448. So the products of a sum are off by at most 2^-3 + 2^-8 of
    themselves; with errors that don't know of each other a sum of many is off by about 2^-4 sqrt(2 / 3) of itself."""
    x, kernel = jax.random.normal(jax.random.key(0), x), jax.random.normal(jax.random.key(1), kernel)
    exact = np.einsum(subscripts, np.asarray(x, np.float64), np.asarray(kernel, np.float64))
    error = np.abs(np.asarray(fp8.product(subscripts, x, kernel)) - exact)
    bound = (2**-3 + 2**-8) * np.einsum(subscripts, np.abs(x), np.abs(kernel)) + 1e-2
    assert (error < bound).all()
    relative = np.sqrt(np.square(error).mean() / np.square(exact).mean())
    assert 0.005 < relative < 2**-4 * (2 / 3) ** 0.5


def test_a_token_is_not_rounded_by_its_neighbours(qwix):
    x, kernel = jax.random.normal(jax.random.key(0), (2, 5, 16)), jax.random.normal(jax.random.key(1), (16, 8))
    alone = fp8.product("bli,io->blo", x[:1, :1], kernel)
    np.testing.assert_array_equal(fp8.product("bli,io->blo", x.at[1].mul(1e4), kernel)[:1, :1], alone)


@pytest.mark.parametrize("remat", ["none", "dots"])
def test_gradients_point_the_same_way(qwix, streams, build, remat):
    """On a batch of packed clips, all layers together; in the backward pass all factors are rounded again."""
    stream = streams.make_stream([[streams.make_clip(1), streams.make_clip(2)], [streams.make_clip(3)]])
    weight = (
        np.random.default_rng(0).normal(size=(*stream.layout.source_index.shape, 24))
        * stream.layout.is_token[..., None]
    )

    @nnx.jit
    def gradient(model):
        return nnx.grad(lambda model: jnp.square(model(stream).top * weight).mean())(model)

    def flat(**settings):
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient(build(**settings)))])

    exact, rounded = flat(), flat(block=QUANTIZED, compute="bfloat16", remat=remat)
    assert np.isfinite(rounded).all()
    cosine = exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded)
    assert 0.99 < cosine < 0.9999, cosine


def test_it_learns_as_without(qwix):
    """Twenty steps towards the output of other layers; parameters stay float32."""
    x = jax.random.normal(jax.random.key(2), (8, 6, 32), jnp.bfloat16)
    target = run(x, jax.tree.map(lambda w: 1.5 * w[::-1], layers_of()), Block())
    optimizer = optax.adam(3e-3)

    def trained(block):
        def loss(layers):
            return jnp.square((run(x, layers, block) - target).astype(jnp.float32)).mean()

        @jax.jit
        def step(layers, state):
            value, gradient = jax.value_and_grad(loss)(layers)
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(layers, updates), state, value

        layers, losses = layers_of(), []
        state = optimizer.init(layers)
        for _ in range(21):
            layers, state, value = step(layers, state)
            losses.append(float(value))
        assert {leaf.dtype for leaf in jax.tree.leaves(layers)} == {jnp.dtype("float32")}
        return losses

    plain, rounded = trained(Block()), trained(QUANTIZED)
    assert plain[-1] < plain[0] / 2
    np.testing.assert_allclose(rounded[-1], plain[-1], rtol=0.1)
    assert rounded != plain


@pytest.mark.parametrize(("activation", "products"), [("gelu", 4), ("swiglu", 5)])
def test_all_products_with_weights_are_of_8_bits_and_no_others(qwix, activation, products):
    """The products of a layer: queries, keys and values, attention output, up, gate, down; two gradients for each."""
    block = Block(quantized="fp8", activation=activation)
    layers = TransformerStack(ModelDims(1, 32, 2, 128), block, rngs=nnx.Rngs(0)).layers()
    loss = jax.grad(lambda x, layers: run(x, layers, block).astype(jnp.float32).sum(), argnums=(0, 1))
    text = jax.jit(loss).lower(jnp.ones((2, 6, 32), jnp.bfloat16), layers).as_text()
    small = re.findall(r"dot_general .*\(tensor<\S+xf8E4M3FN>, tensor<\S+xf8E4M3FN>\)", text)
    assert len(small) == 3 * products
    # Scores and mixed values, and two each in the gradient.
    assert text.count("stablehlo.dot_general") - len(small) == 6
