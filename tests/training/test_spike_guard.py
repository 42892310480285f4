"""Steps that stand out are skipped, counted apart, and end a run of which nothing else comes."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from training_toy import LONG, PlainToy, ToyBatches, quick, same_bits, toy_train

from mmvideo.records.lines import read_lines
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.config import Spike
from mmvideo.training.nan_guard import SpikeError
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import new_state
from mmvideo.training.step import make_step

SPIKE = Spike(loss=3.0, gradient=8.0, window=3, warmup=2)


@pytest.fixture(scope="module")
def begin():
    """Makes the first state of a learner whose steps may be spikes; and its step, compiled once."""
    config = quick(steps=9, ema=0.75, spike=SPIKE, optimizer={"warmup": 0, "schedule": "constant"})
    graphdef, params, variables = nnx.split(PlainToy(rngs=nnx.Rngs(0)), nnx.Param, ...)
    optimizer, step = make_optimizer(config.optimizer, config.steps), make_step(graphdef, config)

    def fresh():
        # Copies, for the state is donated.
        parts = jax.tree.map(jnp.copy, (nnx.to_pure_dict(params), nnx.to_pure_dict(variables)))
        return new_state(*parts, optimizer, config)

    return fresh, step


class Cut(Exception):
    """The end of a run that was killed."""


class CutBatches(ToyBatches):
    """The same batches, and the end before that of step 4 is trained on."""

    def iterate(self, start, stop):
        yield from super().iterate(start, 4)
        raise Cut


def learned(state):
    return jax.tree.map(np.array, (state.params, state.opt_state, state.ema))


def test_a_spike_changes_nothing_and_is_counted_apart(begin):
    fresh, step = begin
    state, batches = fresh(), ToyBatches(loud=(2, 3), bad=(4,))
    for number in (0, 1):
        state, metrics = step(state, batches.batch(number))
        assert metrics["spike"] == 0 and metrics["spikes_total"] == 0
    before, known = learned(state), (float(state.spikes.loss), float(state.spikes.norm))
    for number in (2, 3, 4):
        state, metrics = step(state, batches.batch(number))
        assert metrics["spike"] == (number != 4) and metrics["skipped"] == (number == 4)
        assert metrics["bad_in_a_row"] == number - 1, "one count for both, or turns of them would never end a run"
        assert same_bits(before, learned(state))
        assert (float(metrics["usual_loss"]), float(metrics["usual_norm"])) == known
        assert (float(state.spikes.loss), float(state.spikes.norm)) == known
    state, metrics = step(state, batches.batch(5))
    assert metrics["spike"] == 0 and metrics["bad_in_a_row"] == 0
    assert metrics["spikes_total"] == 2 and metrics["skipped_total"] == 1 and int(state.step) == 6
    assert not same_bits(before, learned(state))


def test_the_running_means_are_those_of_the_window(begin):
    """Against numpy: the plain mean of the first three steps, then a third of the way to each new one."""
    fresh, step = begin
    state, seen, mean = fresh(), [], None
    for number in range(6):
        state, metrics = step(state, ToyBatches().batch(number))
        seen.append((float(metrics["train/loss"]), float(metrics["grad_norm"])))
        mean = np.mean(seen, axis=0) if number < 3 else mean + (np.array(seen[-1]) - mean) / 3
        np.testing.assert_allclose((float(state.spikes.loss), float(state.spikes.norm)), mean, rtol=1e-5)


def test_a_skipped_spike_is_as_if_it_had_not_been_there(begin):
    fresh, step = begin
    left, right = fresh(), fresh()
    for number in (0, 1, 2, 3):
        left, _ = step(left, ToyBatches(loud=(2,)).batch(number))
    for number in (0, 1, 3):
        right, _ = step(right, ToyBatches().batch(number))
    assert same_bits(learned(left), learned(right))
    assert float(left.spikes.loss) == float(right.spikes.loss) and int(left.spikes.counted) == 3


def test_the_first_steps_are_never_spikes(begin):
    fresh, step = begin
    state, metrics = step(fresh(), ToyBatches().batch(0))
    state, metrics = step(state, ToyBatches(loud=(1,)).batch(1))
    assert metrics["spike"] == 0 and metrics["train/loss"] > 3 * metrics["usual_loss"]


def test_a_run_counts_its_spikes_and_resumes_with_the_same_bits(tmp_path):
    config = quick(**{**LONG, "steps": 7, "save_every": 4}, spike=SPIKE)
    batches = ToyBatches(loud=(3, 5))
    whole = toy_train(tmp_path / "whole", config, batches)
    with pytest.raises(Cut):
        toy_train(tmp_path / "half", config, CutBatches(loud=(3, 5)))
    assert Checkpoints(tmp_path / "half" / "checkpoints").latest == 4
    again = toy_train(tmp_path / "half", config, batches)
    assert same_bits(whole, again) and int(again.spikes.skipped) == 2 and int(again.skipped) == 0
    lines = read_lines(tmp_path / "whole" / "metrics.jsonl")
    assert [line["skipped_spikes"] for line in lines] == [0, 0, 0, 1, 1, 2, 2]
    assert all(line["skipped_steps"] == 0 for line in lines)
    account = read_lines(tmp_path / "whole" / "ledger.jsonl")
    assert [line["to_step"] for line in account if line.get("spikes")] == [4, 6]
    assert not any("skipped" in line for line in account)


def test_spikes_in_a_row_end_the_run(tmp_path):
    config = quick(steps=9, patience=3, spike=SPIKE)
    with pytest.raises(
        SpikeError, match="step 6: a spike, the last of 3 steps in a row that were skipped: loss .* is us"
    ):
        toy_train(tmp_path, config, ToyBatches(loud=(3, 4, 5, 6)))
    assert read_lines(tmp_path / "metrics.jsonl")[-1]["skipped_spikes"] == 3


def test_a_run_without_spikes_has_no_state_of_them_and_an_older_one_goes_on(copied_run, whole_run):
    record = json.loads((copied_run / "checkpoints" / "6" / "record" / "digests.json").read_text())
    assert not [name for name in record["arrays"] if "spike" in name]
    settings = json.loads((copied_run / "config.json").read_text())
    for name in ("spike", "hang_seconds"):
        del settings["training"][name]
    (copied_run / "config.json").write_text(json.dumps(settings))
    again = toy_train(copied_run, quick(**LONG), ToyBatches())
    assert same_bits(again, whole_run[1])
    assert Checkpoints(copied_run / "checkpoints").latest == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": None, "gradient": None}, "skips nothing"),
        ({"loss": 1.0}, r"training\.spike\.loss 1\.0 must be above 1"),
        ({"warmup": 0}, "warmup 0 must be 1 or more"),
    ],
)
def test_settings_that_skip_nothing_or_all_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Spike(**settings)
