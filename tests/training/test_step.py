"""One step: the moving average, and what a bad batch may not touch."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx
from training_toy import Toy, ToyBatches, quick, same_bits

from mmvideo.training.nan_guard import NonFiniteError, check, nonfinite_metrics
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import new_state
from mmvideo.training.step import make_step


def begin(config):
    graphdef, params, variables = nnx.split(Toy(rngs=nnx.Rngs(0)), nnx.Param, ...)
    optimizer = make_optimizer(config.optimizer, config.steps)
    state = new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(variables), optimizer, config)
    return state, make_step(graphdef, config)


def host(state):
    return jax.tree.map(lambda leaf: np.array(leaf), (state.params, state.opt_state, state.ema))


def wide(kernel):
    return np.asarray(kernel, np.float64)


def test_the_average_follows_its_formula_and_random_streams_move_on():
    config = quick(steps=9, ema=0.75, optimizer={"warmup": 0})
    state, step = begin(config)
    counts = []
    for number in range(4):
        before = wide(state.ema["inner"]["kernel"])
        state, _ = step(state, ToyBatches().batch(number))
        after = wide(state.params["inner"]["kernel"])
        # The two parts may cancel, so the rounding of float32 is held against their sizes, not against their sum.
        rounding = np.finfo(np.float32).eps * (np.abs(before) + np.abs(after))
        assert (np.abs(wide(state.ema["inner"]["kernel"]) - (0.75 * before + 0.25 * after)) <= rounding).all()
        counts.append(int(state.variables["dropout"]["rngs"]["count"]))
    assert counts == sorted(set(counts))


def test_the_average_moves_only_with_an_update():
    state, step = begin(quick(steps=9, ema=0.5, optimizer={"warmup": 0, "accumulate": 2}))
    first = np.asarray(state.ema["inner"]["kernel"])
    state, _ = step(state, ToyBatches().batch(0))
    np.testing.assert_array_equal(state.ema["inner"]["kernel"], first)
    state, _ = step(state, ToyBatches().batch(1))
    expected = 0.5 * first + 0.5 * np.asarray(state.params["inner"]["kernel"])
    np.testing.assert_allclose(state.ema["inner"]["kernel"], expected, rtol=1e-6)


def test_a_bad_step_changes_nothing_and_is_counted():
    state, step = begin(quick(steps=9, ema=0.75, optimizer={"warmup": 0}))
    batches = ToyBatches(bad=(1, 2))
    state, metrics = step(state, batches.batch(0))
    assert not metrics["skipped"] and metrics["clips"] == 8 and metrics["tokens"] == 24 and metrics["slots"] == 32
    before = host(state)
    for number in (1, 2):
        state, metrics = step(state, batches.batch(number))
        assert metrics["skipped"] == 1 and metrics["bad_in_a_row"] == number
        assert same_bits(before, host(state))
    state, metrics = step(state, batches.batch(3))
    assert not metrics["skipped"] and metrics["bad_in_a_row"] == 0 and metrics["skipped_total"] == 2
    assert int(state.step) == 4 and int(state.skipped) == 2
    assert not same_bits(before, host(state))


def test_a_skipped_batch_is_as_if_it_had_not_been_there():
    """Parameters after batches 0, bad, 2 are those after 0, 2: no moment has seen the bad one."""
    config = quick(steps=9, optimizer={"warmup": 0, "schedule": "constant"})
    (left, step), (right, _) = begin(config), begin(config)
    bad = ToyBatches(bad=(1,))
    for number in (0, 1, 2):
        left, _ = step(left, bad.batch(number))
    for number in (0, 2):
        right, _ = step(right, bad.batch(number))
    assert same_bits(host(left), host(right))


def test_the_guard_has_patience_and_names_step_and_objective():
    metrics = {
        "train/loss": np.nan,
        "train/value/loss": 0.5,
        "train/label/loss": np.nan,
        "train/label/accuracy": np.nan,
    }
    check(41, {**metrics, "bad_in_a_row": 2.0}, patience=3)
    with pytest.raises(NonFiniteError, match=r"step 42: the loss of label is not finite, 3 steps in a row"):
        check(42, {**metrics, "bad_in_a_row": 3.0}, patience=3)


def test_a_bad_gradient_with_finite_losses_is_told_apart():
    metrics = {"train/loss": 1.0, "train/value/loss": 1.0, "bad_in_a_row": 1.0}
    assert nonfinite_metrics(metrics) == []
    with pytest.raises(NonFiniteError, match="the gradient, though every loss is finite"):
        check(1, metrics, patience=1)
    assert nonfinite_metrics({"train/loss": np.inf, "train/value/loss": 1.0}) == ["the total"]
