"""Placement: the rows of a batch on eight devices, and a clear word when they do not divide."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from mmvideo.input.device_put import device_put_batch
from mmvideo.stream import Clips, TokenLayout, TokenStream


def _mesh(**axes: int) -> jax.sharding.Mesh:
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def _stream(rows: int) -> TokenStream:
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.integers(0, 9, (rows, *shape)).astype(np.int32)

    time = rng.normal(size=(rows, 12)).astype(np.float32)
    layout = TokenLayout(numbers(12), numbers(12), numbers(12), time, numbers(12, 3))
    clips = Clips(numbers(3), rng.random((rows, 3, 3)) < 0.5, {"class": numbers(3)})
    return TokenStream({"text": numbers(7)}, layout, {}, None, clips)


@pytest.mark.parametrize("axes", [{"data": 8}, {"data": 2, "fsdp": 4}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_every_device_holds_its_rows(axes: dict[str, int]):
    stream = _stream(16)
    placed = device_put_batch(stream, _mesh(**axes))
    parts = axes.get("data", 1) * axes.get("fsdp", 1)
    for here, there in zip(jax.tree.leaves(stream), jax.tree.leaves(placed), strict=True):
        assert np.array_equal(here, np.asarray(there))
        assert len(there.addressable_shards) == 8
        for shard in there.addressable_shards:
            assert shard.data.shape[0] == 16 // parts
            assert np.array_equal(shard.data, here[shard.index])


def test_rows_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match=r"12 rows does not divide among 8 parts \(data 4 x fsdp 2\).*multiple of 8"):
        device_put_batch(_stream(12), _mesh(data=4, fsdp=2))
