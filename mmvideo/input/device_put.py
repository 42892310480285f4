"""Transfer of a batch from the memory of every process to the devices of a mesh."""

from __future__ import annotations

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmvideo.stream import TokenStream

ROW_AXES = ("data", "fsdp")
"""Axes of the mesh that shard the rows of a batch."""


def device_put_batch(stream: TokenStream, mesh: Mesh) -> TokenStream:
    """Return the global batch, with its rows sharded over the axes `data` and `fsdp`.

    Args:
      stream: this process's rows in NumPy; process `p` holds part `p` of the global batch.
      mesh: the devices of all processes.

    Raises:
      ValueError: the rows do not divide among the devices, or a device of this process needs rows of another process.
    """
    mine = stream.layout.modality.shape[0]
    rows = mine * jax.process_count()
    parts = {axis: mesh.shape[axis] for axis in ROW_AXES if axis in mesh.shape}
    cuts = 1
    for size in parts.values():
        cuts *= size
    # 16 rows on a mesh of data 2 x fsdp 4 are 8 parts of 2 rows.
    if rows % cuts:
        shape = " x ".join(f"{axis} {size}" for axis, size in parts.items())
        raise ValueError(
            f"a batch of {rows} rows does not divide among {cuts} parts ({shape}); "
            f"set input.packing.rows to a multiple of {cuts}"
        )
    sharding = NamedSharding(mesh, PartitionSpec(tuple(parts)))
    _check_local(sharding, mine, rows)
    return jax.tree.map(
        lambda array: jax.make_array_from_process_local_data(sharding, array, (rows, *array.shape[1:])), stream
    )


def _check_local(sharding: NamedSharding, mine: int, rows: int) -> None:
    """Check that each process holds the rows of its own devices."""
    # 8 rows a process: process 1 holds rows 8 to 16. A device of it that needs rows 4 to 12 is refused.
    first = jax.process_index() * mine
    for device, (index,) in sharding.addressable_devices_indices_map((rows,)).items():
        start, stop, _ = index.indices(rows)
        if start < first or stop > first + mine:
            raise ValueError(
                f"{device} needs rows {start} to {stop}, but process {jax.process_index()} holds {first} to "
                f"{first + mine}; let the axes tensor and context stay within a process"
            )
