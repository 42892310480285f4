"""The plain mean of the parameters from a batch on: by hand, with skipped batches and accumulation, across a resume."""

from __future__ import annotations

import os
import signal

import jax
import numpy as np
import pytest
from flax import nnx
from training_toy import Toy, ToyBatches, quick, same_bits, toy_train

from mmvideo.training.config import Tuning
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import eval_model, new_state
from mmvideo.training.step import make_step


def begin(**settings):
    config = quick(steps=9, **settings)
    graphdef, params, variables = nnx.split(Toy(rngs=nnx.Rngs(0)), nnx.Param, ...)
    optimizer = make_optimizer(config.optimizer, config.steps)
    state = new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(variables), optimizer, config)
    return state, make_step(graphdef, config), graphdef


def host(tree):
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), tree)


def mean(trees):
    return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *trees)


@pytest.mark.parametrize(
    ("average_from", "accumulate", "bad", "averaged"),
    [
        (4, 1, (), (3, 4, 5, 6)),
        (1, 1, (), (0, 1, 2, 3, 4, 5, 6)),
        (4, 2, (), (3, 5)),
        (3, 2, (), (3, 5)),
        # The skipped batch does not count, so that the third good one is batch 3.
        (3, 1, (1, 4), (3, 5, 6)),
    ],
)
def test_the_mean_is_that_of_the_updates_from_a_batch_on(average_from, accumulate, bad, averaged):
    state, step, _ = begin(average_from=average_from, optimizer={"warmup": 0, "accumulate": accumulate})
    behind, batches = [], ToyBatches(bad=bad)
    for number in range(7):
        state, _ = step(state, batches.batch(number))
        behind.append(host(state.params))
        if number < averaged[0]:
            assert same_bits(state.params, state.ema), "the average follows until it begins"
    jax.tree.map(
        lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7),
        host(state.ema),
        mean([behind[number] for number in averaged]),
    )
    assert not same_bits(state.params, state.ema)


def test_evaluation_takes_the_mean():
    state, step, graphdef = begin(average_from=1, optimizer={"warmup": 0})
    for number in range(3):
        state, _ = step(state, ToyBatches().batch(number))
    kernel = eval_model(graphdef, state).inner.kernel[...]
    np.testing.assert_array_equal(kernel, state.ema["inner"]["kernel"])
    assert not np.array_equal(kernel, state.params["inner"]["kernel"])


def test_a_resumed_mean_has_the_same_bits(tmp_path):
    config = quick(steps=6, save_every=6, average_from=3)

    def stop(row):
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = toy_train(tmp_path / "whole", config, ToyBatches())
    half = toy_train(tmp_path / "half", config, ToyBatches(), on_progress=stop)
    assert 4 <= int(half.step) < 6
    again = toy_train(tmp_path / "half", config, ToyBatches())
    assert same_bits(whole, again) and not same_bits(again.params, again.ema)


def test_a_run_of_a_portion_resumes_with_the_same_bits(tmp_path):
    """Frozen parameters come back as they were."""
    settings = {"steps": 6, "save_every": 6, "ema": 0.5, "tune": Tuning(freeze=("embed.*", "table"))}
    config = quick(**settings)

    def stop(row):
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = toy_train(tmp_path / "whole", config, ToyBatches())
    toy_train(tmp_path / "half", config, ToyBatches(), on_progress=stop)
    assert same_bits(whole, toy_train(tmp_path / "half", config, ToyBatches()))
    first = nnx.to_pure_dict(nnx.state(Toy(rngs=nnx.Rngs(config.seed)), nnx.Param))
    np.testing.assert_array_equal(whole.params["embed"]["kernel"], first["embed"]["kernel"])
    moments = whole.opt_state[1].mu
    assert set(moments) == {"inner", "stacked_bias", "value", "label"}


def test_a_run_that_cannot_begin_leaves_its_workdir_free(tmp_path):
    def begin(learner):
        raise ValueError("another shape")

    with pytest.raises(ValueError, match="another shape"):
        toy_train(tmp_path, quick(steps=3), ToyBatches(), begin=begin)
    assert int(toy_train(tmp_path, quick(steps=3, seed=3), ToyBatches()).step) == 3
