"""Digest of an array's bits, independent of its sharding.

Each element's bits are mixed with its index, and the mixed words are summed modulo 2^32, twice with different seeds.
Integer sums are exact in any order, so each device digests its own part, and any mesh gives the same 64 bits. The
mixing is one-to-one in the element's bits, so a change of a single element always changes the digest. Other changes are
missed with probability 2^-64.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, UInt32

SEEDS = (0x9E3779B9, 0x7F4A7C15)


def digests(arrays: Mapping[str, jax.Array]) -> dict[str, str]:
    """Return 16 hexadecimal digits for each array, computed on the array's devices.

    Arrays are digested one after another. On a host that simulates many devices, hundreds of sums in flight, each
    waiting for its part on every device, can take all threads, so that none of them finishes.
    """
    # Wait for the arrays first: a sum that waits for its operand would hold a thread.
    jax.block_until_ready(list(arrays.values()))
    sums = {name: jax.device_get(_jitted(_everywhere(array))(array)) for name, array in arrays.items()}
    return {name: "".join(f"{int(word):08x}" for word in words) for name, words in sums.items()}


def _everywhere(array: jax.Array) -> NamedSharding | None:
    """Return a sharding that replicates the sum on every device, so that every process can read it."""
    sharding = array.sharding
    return NamedSharding(sharding.mesh, PartitionSpec()) if isinstance(sharding, NamedSharding) else None


@functools.cache
def _jitted(out: NamedSharding | None) -> jax.stages.Wrapped:
    return jax.jit(digest, out_shardings=out)


def digest(array: jax.Array) -> UInt32[Array, "2"]:
    """Return the two sums of mixed words, modulo 2^32."""
    words = _words(array)
    place = jnp.zeros(words.shape, jnp.uint32)
    stride = 1
    # Row-major index of every element: in shape [2, 3], element (1, 2) has index 2 * 1 + 1 * 3 = 5.
    for axis in reversed(range(words.ndim)):
        place += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * np.uint32(stride % 2**32)
        stride *= words.shape[axis]
    return jnp.stack([jnp.sum(_mix(words ^ _mix(place + np.uint32(seed))), dtype=jnp.uint32) for seed in SEEDS])


def _words(array: jax.Array) -> jax.Array:
    """Return the bits of every element as uint32; an 8-byte element gives two words, along a new last axis."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    # bfloat16 1.0 is the bits 0x3F80, and the word 0x00003F80.
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[array.dtype.itemsize]
    return jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)


def _mix(word: jax.Array) -> jax.Array:
    """Scramble 32 bits one-to-one: the finaliser of MurmurHash3 (Appleby, public domain)."""
    word = (word ^ (word >> 16)) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * np.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
