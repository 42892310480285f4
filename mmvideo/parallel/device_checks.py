"""Short trials of the devices: whether what they compute is right, and how fast it goes."""

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
"""Times that a trial is timed; the best counts, for what disturbs it only makes it slower."""


@dataclasses.dataclass(frozen=True)
class DeviceCheck:
    """What a trial gave.

    Attributes:
      right: whether the numbers are those that they must be.
      rate: bytes or floating-point operations a second.
    """

    right: bool
    rate: float


def multiply(device: jax.Device, size: int, dtype: Any = jnp.bfloat16, calls: int = 10) -> DeviceCheck:
    """Products of two square matrices of `size` on one device, two operations a multiply-add."""
    chance = np.random.default_rng(0)
    # Small whole numbers, whose products and sums bfloat16 and float32 hold exactly.
    left, right = (chance.integers(-2, 3, (size, size), np.int8).astype(np.float32) for _ in range(2))
    here = [jax.device_put(jnp.asarray(matrix, dtype), device) for matrix in (left, right)]
    product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
    answer, seconds = _timed(lambda: product(*here), calls)
    rows = slice(0, 8)
    return DeviceCheck(bool(np.array_equal(answer[rows], left[rows] @ right)), 2 * size**3 / seconds)


def send(device: jax.Device, size: int) -> DeviceCheck:
    """`size` bytes from the host's memory to a device's."""
    numbers = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    there, seconds = _timed(lambda: jax.device_put(numbers, device), 1)
    return DeviceCheck(bool(np.array_equal(there, numbers)), size / seconds)


def all_reduce(size: int, calls: int = 3) -> DeviceCheck:
    """A sum over all devices of all processes of an array of `size` bytes on each; every process must call it.

    The rate is that of the busiest link, `2 (n - 1) / n` of the size over the time for `n` devices, as nccl-tests
    reckon it: it can be held against the link's own.
    """
    devices = jax.devices()
    mesh = Mesh(np.asarray(devices), ("all",))
    width = size // 4

    def row(index: tuple[slice, ...]) -> np.ndarray:
        return np.full((1, width), _part(index[0].start or 0), np.float32)

    split = NamedSharding(mesh, PartitionSpec("all"))
    parts = jax.make_array_from_callback((len(devices), width), split, row)
    total = jax.jit(lambda x: x.sum(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
    answer, seconds = _timed(lambda: total(parts), calls)
    expected = sum(map(_part, range(len(devices))))
    right = all((np.asarray(shard.data) == expected).all() for shard in answer.addressable_shards)
    return DeviceCheck(right, 2 * (len(devices) - 1) / len(devices) * size / seconds)


def _part(place: int) -> float:
    """What a device adds: unlike its neighbours, and small, so that the sum of many thousands is exact."""
    return 1.0 + place % 8


def _timed(run: Callable[[], jax.Array], calls: int) -> tuple[jax.Array, float]:
    """The answer, and the seconds that one of several calls takes that are waited for together."""
    answer = jax.block_until_ready(run())
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            last = run()  # The one before is let go of, or many large answers would fill a small device.
        jax.block_until_ready(last)
        best = min(best, (time.perf_counter() - start) / calls)
    return answer, best
