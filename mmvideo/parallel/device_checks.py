"""Short checks of the devices: correct results, and speed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

ROUNDS = 3
"""Number of timings of a check; the best counts, because disturbances only make it slower."""


@dataclasses.dataclass(frozen=True)
class DeviceCheck:
    """The result of a check.

    Attributes:
      right: whether the computed values are correct.
      rate: bytes or floating-point operations per second.
    """

    right: bool
    rate: float


def multiply(device: jax.Device, size: int, dtype: Any = jnp.bfloat16, calls: int = 10) -> DeviceCheck:
    """Check and time the product of two square matrices on one device, at two operations per multiply-add."""
    chance = np.random.default_rng(0)
    # Integers of -2 to 2 are exact in bfloat16, and sums of their products (at most 4 * size) are exact in float32, so
    # the comparison needs no tolerance.
    left, right = (chance.integers(-2, 3, (size, size), np.int8).astype(np.float32) for _ in range(2))
    here = [jax.device_put(jnp.asarray(matrix, dtype), device) for matrix in (left, right)]
    product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
    answer, seconds = _timed(lambda: product(*here), calls)
    rows = slice(0, 8)
    return DeviceCheck(bool(np.array_equal(answer[rows], left[rows] @ right)), 2 * size**3 / seconds)


def send(device: jax.Device, size: int) -> DeviceCheck:
    """Check and time a copy of `size` bytes from the host's memory to a device's."""
    numbers = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    there, seconds = _timed(lambda: jax.device_put(numbers, device), 1)
    return DeviceCheck(bool(np.array_equal(there, numbers)), size / seconds)


def all_reduce(size: int, calls: int = 3) -> DeviceCheck:
    """Check and time a sum over all devices of an array of `size` bytes on each; every process must call it.

    The rate is that of the busiest link, `2 (n - 1) / n` of the size over the time for `n` devices, as in nccl-tests.
    It can be compared with the rate of the link itself.
    """
    devices = jax.devices()
    mesh = Mesh(np.asarray(devices), ("all",))
    width = size // 4

    def row(index: tuple[slice, ...]) -> np.ndarray:
        # JAX asks for the slice of each local device: its start is the index of the device.
        return np.full((1, width), _part(index[0].start or 0), np.float32)

    split = NamedSharding(mesh, PartitionSpec("all"))
    parts = jax.make_array_from_callback((len(devices), width), split, row)
    total = jax.jit(lambda x: x.sum(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
    answer, seconds = _timed(lambda: total(parts), calls)
    expected = sum(map(_part, range(len(devices))))
    right = all((np.asarray(shard.data) == expected).all() for shard in answer.addressable_shards)
    return DeviceCheck(right, 2 * (len(devices) - 1) / len(devices) * size / seconds)


def _part(index: int) -> float:
    """Return the value that a device contributes: unlike its neighbours', and small, so that large sums are exact."""
    return 1.0 + index % 8


def _timed(run: Callable[[], jax.Array], calls: int) -> tuple[jax.Array, float]:
    """Return the result, and the best seconds per call over rounds of several calls that are awaited together."""
    answer = jax.block_until_ready(run())
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            # Only the last result is kept: many large ones would fill a small device.
            last = run()
        jax.block_until_ready(last)
        best = min(best, (time.perf_counter() - start) / calls)
    return answer, best
