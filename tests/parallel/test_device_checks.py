"""Device checks detect wrong results and compute rates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mmvideo.parallel import device_checks


def test_sound_devices_compute_what_they_must():
    device = jax.devices()[-1]
    for trial in (
        device_checks.multiply(device, 64, jnp.float32, 2),
        device_checks.send(device, 4096),
        device_checks.all_reduce(4096),
    ):
        assert trial.right and 0 < trial.rate < 1e15


def test_wrong_numbers_are_seen(monkeypatch):
    """Return the results of the devices, with one element changed before the comparison."""
    timed = device_checks._timed

    def spoiled(run, calls):
        answer, seconds = timed(run, calls)
        return answer.at[(0,) * answer.ndim].add(1), seconds

    monkeypatch.setattr(device_checks, "_timed", spoiled)
    device = jax.devices()[0]
    assert not device_checks.multiply(device, 64, jnp.bfloat16, 1).right
    assert not device_checks.send(device, 4096).right
    assert not device_checks.all_reduce(4096).right


def test_rates_are_those_of_the_time_it_took(monkeypatch):
    timed = device_checks._timed
    monkeypatch.setattr(device_checks, "_timed", lambda run, calls: (timed(run, calls)[0], 0.5))
    device = jax.devices()[0]
    assert device_checks.multiply(device, 64, jnp.float32, 1).rate == 2 * 64**3 / 0.5
    assert device_checks.send(device, 4096).rate == 8192
    assert device_checks.all_reduce(4096).rate == pytest.approx(2 * 7 / 8 * 4096 / 0.5)
