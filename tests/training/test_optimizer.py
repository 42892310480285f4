"""Schedules, the decay mask, clipping and accumulation."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from training_toy import PlainToy, ToyBatches, quick

from mmvideo.model.config import Block, ModelDims
from mmvideo.model.transformer.block import TransformerStack
from mmvideo.training.config import MOMENTS, Optimizer
from mmvideo.training.optimizer import decayed, make_optimizer, make_schedule
from mmvideo.training.state import new_state
from mmvideo.training.step import make_step


@pytest.mark.parametrize(
    ("shape", "half_way"),
    [("cosine", 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))), ("linear", 0.55), ("constant", 1.0)],
)
def test_the_schedule_warms_up_and_ends_where_it_should(shape, half_way):
    rate = make_schedule(Optimizer(schedule=shape, learning_rate=2.0, warmup=10, final_share=0.1), steps=110)
    assert float(rate(0)) == 0.0
    assert float(rate(5)) == pytest.approx(1.0)
    assert float(rate(10)) == pytest.approx(2.0)
    assert float(rate(60)) == pytest.approx(2.0 * half_way)
    assert float(rate(110)) == pytest.approx(2.0 if shape == "constant" else 0.2)


def test_without_warm_up_the_first_rate_is_the_highest():
    assert float(make_schedule(Optimizer(warmup=0, learning_rate=0.5), 10)(0)) == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adam"}, "optimizer.name 'adam'"),
        ({"schedule": "step"}, "optimizer.schedule 'step'"),
        ({"warmup": 100}, "warmup=100"),
        ({"accumulate": 0}, "accumulate=0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(Optimizer(**{"warmup": 0, **settings}), steps=100)


def test_decay_takes_matrices_and_leaves_the_rest():
    blocks = TransformerStack(ModelDims(depth=2, width=8, heads=2, feed_forward=16), rngs=nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(blocks, nnx.Param))
    taken = {name for name, decays in decayed(params).items() if decays}
    assert taken == {"qkv_kernel", "out_kernel", "up_kernel", "down_kernel"}
    special = Block(activation="swiglu", qk_norm=True, layer_scale=1.0)
    numbers = ModelDims(depth=2, width=8, heads=2, feed_forward=16)
    own = TransformerStack(numbers, special, sharing="nothing", modalities=("video", "text"), rngs=nnx.Rngs(0))
    marks = decayed(nnx.to_pure_dict(nnx.state(own, nnx.Param)))
    for owner in ("video", "text"):
        assert {name for name, decays in marks[owner].items() if decays} == taken | {"gate_kernel"}
    toy = decayed(nnx.to_pure_dict(nnx.state(PlainToy(rngs=nnx.Rngs(0)), nnx.Param)))
    assert toy["embed"] == {"kernel": True, "bias": False}
    assert not toy["table"] and not toy["stacked_bias"]


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "sgd"])
def test_decay_is_decoupled_in_every_optimiser(name):
    """Without a gradient only the decay is left: a matrix shrinks by `rate * decay`, a bias stays."""
    config = Optimizer(name=name, learning_rate=0.1, warmup=0, schedule="constant", weight_decay=0.5)
    params = {"kernel": jnp.full((3, 4), 2.0), "bias": jnp.full((2, 4), 2.0)}
    optimizer = make_optimizer(config, steps=10)
    updates, _ = optimizer.update(optax.tree.zeros_like(params), optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["kernel"], 2.0 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], 2.0)


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "sgd"])
def test_every_optimiser_descends(name):
    config = Optimizer(name=name, learning_rate=0.02, warmup=0, schedule="constant", weight_decay=0.0)
    optimizer = make_optimizer(config, steps=100)

    @jax.jit
    def descend(params, state):
        updates, state = optimizer.update(jax.grad(lambda p: jnp.sum(p["kernel"] ** 2))(params), state, params)
        return optax.apply_updates(params, updates), state

    params = {"kernel": jnp.full((3, 4), 1.0)}
    state = optimizer.init(params)
    for _ in range(30):
        params, state = descend(params, state)
    assert float(jnp.abs(params["kernel"]).max()) < 0.7


def test_clipping_bounds_the_global_norm():
    config = Optimizer(name="sgd", b1=0.0, learning_rate=1.0, warmup=0, schedule="constant", weight_decay=0.0, clip=0.5)
    params = {"a": jnp.zeros(4), "b": jnp.zeros(9)}
    optimizer = make_optimizer(config, 10)
    updates, _ = optimizer.update({"a": jnp.full(4, 3.0), "b": jnp.full(9, 2.0)}, optimizer.init(params), params)
    assert float(optax.global_norm(updates)) == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_allclose(updates["a"][0] / updates["b"][0], 1.5, rtol=1e-6)


def test_accumulated_small_batches_equal_a_big_one():
    """Four batches of 8 rows update as one of 32; between updates nothing moves, and the schedule counts batches."""
    big = quick(steps=3, optimizer={"warmup": 0, "schedule": "linear", "clip": 0.1})
    small = quick(steps=12, optimizer={"warmup": 0, "schedule": "linear", "clip": 0.1, "accumulate": 4})
    parts = [ToyBatches().batch(step) for step in range(8)]
    graphdef = nnx.graphdef(PlainToy(rngs=nnx.Rngs(0)))

    def start(config):
        _, params, variables = nnx.split(PlainToy(rngs=nnx.Rngs(0)), nnx.Param, ...)
        optimizer = make_optimizer(config.optimizer, config.steps)
        return new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(variables), optimizer, config)

    state, one, rates = start(small), make_step(graphdef, small), []
    for number, part in enumerate(parts):
        before = np.asarray(state.params["embed"]["kernel"])
        state, metrics = one(state, part)
        rates.append(float(metrics["learning_rate"]))
        assert (np.array_equal(before, state.params["embed"]["kernel"])) == (number % 4 != 3)
    whole, four, big_rates = start(big), make_step(graphdef, big), []
    for first in (0, 4):
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts[first : first + 4])
        whole, metrics = four(whole, joined)
        big_rates.append(float(metrics["learning_rate"]))
    assert rates[::4] == pytest.approx(big_rates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.params, whole.params)


def test_muon_makes_the_update_of_each_matrix_orthogonal_and_leaves_the_rest_to_adam():
    rng = np.random.default_rng(0)
    blocks = TransformerStack(ModelDims(depth=2, width=8, heads=2, feed_forward=16), rngs=nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(blocks, nnx.Param))
    grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
    settings = Optimizer(name="muon", learning_rate=1.0, warmup=0, schedule="constant", weight_decay=0.0, clip=None)
    optimizer = make_optimizer(settings, steps=10)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)

    matrices = {
        "qkv_kernel": [updates["qkv_kernel"][n, :, c].reshape(8, 8) for n in range(2) for c in range(3)],
        "out_kernel": [updates["out_kernel"][n].reshape(8, 8) for n in range(2)],
        "up_kernel": list(updates["up_kernel"]),
    }
    own = {
        "qkv_kernel": [grads["qkv_kernel"][n, :, c].reshape(8, 8) for n in range(2) for c in range(3)],
        "out_kernel": [grads["out_kernel"][n].reshape(8, 8) for n in range(2)],
        "up_kernel": list(grads["up_kernel"]),
    }
    for name, found in matrices.items():
        for update, gradient in zip(found, own[name], strict=True):
            left, _, right = np.linalg.svd(np.asarray(gradient, np.float64), full_matrices=False)
            scale = 0.2 * math.sqrt(max(gradient.shape))
            # Newton and Schulz's five steps bring the singular values near 1 (0.7 to 1.2), not to it.
            values = np.diagonal(left.T @ np.asarray(update, np.float64) @ right.T) / -scale
            assert np.all((values > 0.6) & (values < 1.3)), name
    adam = optax.nadam(1.0, b1=0.9, b2=0.98)
    expected, _ = adam.update(grads["up_bias"], adam.init(params["up_bias"]))
    np.testing.assert_allclose(updates["up_bias"], expected, rtol=1e-5)


def test_adafactor_follows_its_definition():
    """Four updates of a factored matrix and of a vector, by hand (Zhai et al., arXiv 2106.04560)."""
    rng = np.random.default_rng(0)
    config = Optimizer(name="adafactor", learning_rate=1.0, warmup=0, schedule="constant", weight_decay=0.0, clip=None)
    for settings in ({}, {"b1": 0.5, "b2": 0.4, "eps": 1e-2}):
        own = dataclasses.replace(config, **settings)
        b1, b2, eps = (own.moments()[name] for name in ("b1", "b2", "eps"))
        params = {"kernel": jnp.zeros((32, 40)), "bias": jnp.zeros(40)}
        optimizer = make_optimizer(own, steps=10)
        state = optimizer.init(params)
        rows, columns, bias, mean = np.zeros(32), np.zeros(40), np.zeros(40), None
        for step in range(1, 5):
            grads = {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in params.items()}
            updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, params)
            kept = min(b2, 1 - step**-0.8)
            square = grads["kernel"].astype(float) ** 2 + eps
            rows = kept * rows + (1 - kept) * square.mean(axis=1)
            columns = kept * columns + (1 - kept) * square.mean(axis=0)
            bias = kept * bias + (1 - kept) * (grads["bias"].astype(float) ** 2 + eps)
            scaled = {
                "kernel": grads["kernel"] / np.sqrt(rows[:, None] * columns[None] / rows.mean()),
                "bias": grads["bias"] / np.sqrt(bias),
            }
            mean = {name: b1 * (mean[name] if mean else 0) + (1 - b1) * scaled[name] for name in scaled}
            for name, expected in mean.items():
                # The momentum is kept in half precision, whose numbers lie 2^-8 apart.
                np.testing.assert_allclose(-updates[name], expected, rtol=0.02, atol=0.02, err_msg=f"{settings} {name}")
    without = make_optimizer(dataclasses.replace(config, b1=0.0), steps=10)
    updates, _ = without.update(
        {"bias": jnp.full(3, 7.0)}, without.init({"bias": jnp.zeros(3)}), {"bias": jnp.zeros(3)}
    )
    # No momentum, no clipping: the first update is the gradient's sign.
    np.testing.assert_allclose(updates["bias"], -1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sgd", {"b2": 0.9}, "optimizer.b2 0.9: sgd has no such number, only b1"),
        ("sgd", {"eps": 1e-8}, "optimizer.eps 1e-08: sgd"),
        ("lion", {"eps": 1e-8}, "optimizer.eps 1e-08: lion has no such number, only b1, b2"),
    ],
)
def test_a_number_that_an_optimiser_does_not_use_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(name=name, **settings)


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor", "sgd"])
def test_every_number_of_an_optimiser_acts(name):
    """Another value of a number changes the third update of a matrix."""

    def third(**settings):
        config = Optimizer(name=name, learning_rate=0.1, warmup=0, schedule="constant", clip=None, **settings)
        optimizer = make_optimizer(config, steps=10)
        params = {"kernel": jnp.zeros((33, 34)), "bias": jnp.zeros(34)}
        state = optimizer.init(params)
        for seed in range(3):
            grads = jax.tree.map(
                lambda leaf, seed=seed: jnp.asarray(np.random.default_rng(seed).normal(size=leaf.shape), jnp.float32),
                params,
            )
            updates, state = optimizer.update(grads, state, params)
        return np.asarray(updates["kernel"]), np.asarray(updates["bias"])

    usual = third()
    assert all(np.array_equal(a, b) for a, b in zip(usual, third(**MOMENTS[name]), strict=True))
    for number in MOMENTS[name]:
        other = third(**{number: 0.5})
        assert not all(np.array_equal(a, b) for a, b in zip(usual, other, strict=True)), number
