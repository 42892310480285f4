"""The trials of devices see what is wrong, and reckon rates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mmvideo.parallel import trials


def test_sound_devices_compute_what_they_must():
    device = jax.devices()[-1]
    for trial in (trials.multiply(device, 64, jnp.float32, 2), trials.send(device, 4096), trials.all_reduce(4096)):
        assert trial.right and 0 < trial.rate < 1e15


def test_wrong_numbers_are_seen(monkeypatch):
    """The answers of the devices, spoiled by one number before they are looked at."""
    timed = trials._timed

    def spoiled(run, calls):
        answer, seconds = timed(run, calls)
        return answer.at[(0,) * answer.ndim].add(1), seconds

    monkeypatch.setattr(trials, "_timed", spoiled)
    device = jax.devices()[0]
    assert not trials.multiply(device, 64, jnp.bfloat16, 1).right
    assert not trials.send(device, 4096).right
    assert not trials.all_reduce(4096).right


def test_rates_are_those_of_the_time_it_took(monkeypatch):
    timed = trials._timed
    monkeypatch.setattr(trials, "_timed", lambda run, calls: (timed(run, calls)[0], 0.5))
    device = jax.devices()[0]
    assert trials.multiply(device, 64, jnp.float32, 1).rate == 2 * 64**3 / 0.5
    assert trials.send(device, 4096).rate == 8192
    assert trials.all_reduce(4096).rate == pytest.approx(2 * 7 / 8 * 4096 / 0.5)
