"""The mesh: every device of the run along the axes `data`, `fsdp`, `context` and `tensor`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType

from mmvideo.parallel.config import Mesh
from mmvideo.parallel.find_devices import find_devices

AXES = ("data", "fsdp", "context", "tensor")
"""Names of the mesh axes, from the slowest link to the fastest."""


def make_mesh(config: Mesh, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Build the mesh of a config, with Auto axes: XLA derives every sharding that is not given.

    Args:
      config: devices along each axis; one axis may be -1, which takes the remaining devices.
      devices: all devices of all processes if None.

    Raises:
      ValueError: sizes that don't multiply to the number of devices.
    """
    devices = find_devices() if devices is None else list(devices)
    shape = axis_sizes(config, len(devices))
    # By default `jax.make_mesh` makes Explicit axes, under which a product over a sharded axis is an error.
    kinds = (AxisType.Auto,) * len(AXES)
    try:
        return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)
    except NotImplementedError:
        # The axes are not whole sides of a TPU slice. Example: 8 x 8 on 4 x 4 x 4 chips splits one side into 2 x 2.
        split = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
        return jax.sharding.Mesh(split, AXES, axis_types=kinds)


def axis_sizes(config: Mesh, devices: int) -> tuple[int, ...]:
    """Return the devices along each of `AXES`, with the -1 resolved; raises as `make_mesh` does."""
    sizes = dataclasses.asdict(config)
    wrong = [name for name, size in sizes.items() if size < 1 and size != -1]
    open_axes = [name for name, size in sizes.items() if size == -1]
    if wrong or len(open_axes) > 1:
        raise ValueError(f"mesh {_words(sizes)}: each axis must be 1 or more, and at most one may be -1")
    given = math.prod(size for size in sizes.values() if size != -1)
    # Example: data -1 and tensor 2 on 16 devices give data 8.
    if open_axes and devices % given == 0:
        sizes[open_axes[0]] = devices // given
    elif open_axes:
        raise ValueError(f"mesh {_words(sizes)}: {given} does not divide the {devices} devices")
    elif given != devices:
        raise ValueError(
            f"mesh {_words(sizes)}: the product is {given}, but there are {devices} devices; "
            "set one axis to -1 to use the remaining devices"
        )
    return tuple(sizes[name] for name in AXES)


def _words(sizes: dict[str, int]) -> str:
    return " x ".join(f"{name}={size}" for name, size in sizes.items())
