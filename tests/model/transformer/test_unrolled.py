"""Where layers are scanned and where not, and that neither this nor how a bias is added changes what comes out."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Block, Model, model_dims, unrolled_layers
from mmvideo.model.positions.schemes import rotate
from mmvideo.model.transformer.block import TransformerStack, qkv_projection
from mmvideo.model.transformer.run_layers import ComputeConfig, run_layers


@pytest.mark.parametrize(
    ("scan", "depth", "platform", "count", "unrolled"),
    [
        ("auto", 24, "gpu", 16, 16),
        ("auto", 40, "gpu", 26, 15),
        ("auto", 40, "gpu", 14, 8),
        ("auto", 2, "cpu", 2, 0),
        ("auto", 2, "tpu", 2, 0),
        (True, 2, "gpu", 2, 0),
        (False, 40, "cpu", 26, 26),
    ],
)
def test_layers_are_unrolled_on_gpus_up_to_a_depth(scan, depth, platform, count, unrolled):
    assert unrolled_layers(Model(depth=depth, scan=scan), platform, count) == unrolled


@pytest.mark.parametrize("remat", ["none", "full"])
def test_layers_scanned_and_unrolled_and_some_of_each_are_the_same(remat):
    """Values and gradients of three layers in float32, of which none, one and all are unrolled."""
    model = Model(depth=3, width=48, heads=4, feed_forward=96, compute="float32", remat=remat)
    layers = TransformerStack(model_dims(model), model.block, rngs=nnx.Rngs(0)).layers()
    x = jax.random.normal(jax.random.key(1), (2, 7, 48))
    spans = jnp.broadcast_to(jnp.array([0, 7], jnp.int32), (2, 7, 2))

    def loss(unrolled):
        how = dataclasses.replace(ComputeConfig.of(model), unrolled=lambda count: unrolled)
        return lambda x, layers: jnp.sin(run_layers(x, layers, spans, None, how)).sum()

    first, *others = (jax.jit(jax.value_and_grad(loss(number), (0, 1)))(x, layers) for number in (0, 1, 3))
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), first, other)


def halves(x, cosine, sine):
    """Rotary positions by the two halves of a head, as the paper has them."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("compiled", [False, True])
def test_pairs_turned_in_place_are_those_turned_by_halves(dtype, compiled):
    """To the bit, but for float32 in a compiled program, where XLA rounds one of the products together with the sum."""
    rng = np.random.default_rng(0)
    angle = jnp.asarray(10 * rng.normal(size=(3, 50, 1, 32)), jnp.float32)
    x, gradient = (jnp.asarray(rng.normal(size=(3, 50, 4, 64)), dtype) for _ in range(2))

    def both(turn):
        out, back = jax.vjp(turn, x)
        return out, back(gradient)[0]

    ways = [lambda x: rotate(x, (jnp.cos(angle), jnp.sin(angle))), lambda x: halves(x, jnp.cos(angle), jnp.sin(angle))]
    run = jax.jit(both, static_argnums=0) if compiled else both
    exact = dtype == jnp.bfloat16 or not compiled
    for got, want in zip(run(ways[0]), run(ways[1]), strict=True):
        got, want = (np.asarray(each, np.float32) for each in (got, want))
        np.testing.assert_allclose(got, want, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-6)


@pytest.mark.parametrize("biases", ["all", "qv", "none"])
def test_a_bias_is_added_to_its_own_projection(biases):
    """As three products with a bias each."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)
    weights = {"qkv_kernel": jnp.asarray(rng.normal(size=(12, 3, 2, 6)), jnp.float32)}
    bias = jnp.asarray(rng.normal(size=(3, 2, 6)), jnp.float32)
    if biases == "qv":
        bias = bias.at[1].set(0)
        weights["qv_bias"] = bias[jnp.array([0, 2])]
    elif biases == "all":
        weights["qkv_bias"] = bias
    block = dataclasses.replace(Block(), biases=biases)
    for place, got in enumerate(qkv_projection(x, weights, None, block)):
        want = jnp.einsum("bld,dnh->blnh", x, weights["qkv_kernel"][:, place])
        want = want if biases == "none" else want + bias[place]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    only = qkv_projection(x, weights, None, block, slice(1, 3))
    np.testing.assert_allclose(only[1], qkv_projection(x, weights, None, block)[2], rtol=1e-5, atol=1e-6)
