"""How the parameters of a learner lie on a mesh, as text that a review can read: a line for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from mmvideo.parallel.mesh import AXES
from mmvideo.parallel.rules import PARAMETERS, partition


def sharding_table(params: Any, axes: Any, sizes: Mapping[str, int]) -> str:
    """Name, shape and mesh axes of every parameter; those of stacked layers are one line, `layers` the first axis.

    Args:
      params: nested dicts of arrays or their shapes.
      axes: nested alike, the names of each parameter's logical axes, or None.
      sizes: devices along each axis of the mesh.

    Returns:
      Lines such as `trunk.blocks.fused.qkv_kernel  12 768 3 12 64  -, fsdp, -, tensor, -`, sorted by name; `whole`
      is what every device holds all of.
    """
    mesh = jax.sharding.AbstractMesh(tuple(sizes[axis] for axis in AXES), AXES)
    named = flatten_dict(axes)
    rows = [
        (".".join(map(str, path)), " ".join(map(str, leaf.shape)), _words(named[path], leaf.shape, mesh))
        for path, leaf in flatten_dict(params).items()
    ]
    wide = [max(len(row[column]) for row in rows) for column in range(2)]
    return "".join(f"{name:{wide[0]}}  {shape:{wide[1]}}  {words}\n" for name, shape, words in sorted(rows))


def _words(logical: tuple[str | None, ...] | None, shape: tuple[int, ...], mesh: Any) -> str:
    split = () if logical is None else partition(logical, shape, mesh, PARAMETERS)
    if not any(split):
        return "whole"
    return ", ".join("-" if part is None else part if isinstance(part, str) else "+".join(part) for part in split)
