"""The sharding of a learner's parameters on a mesh as text for review, one line per parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from mmvideo.parallel.mesh import AXES
from mmvideo.parallel.rules import PARAMETERS, partition


def sharding_table(params: Any, axes: Any, sizes: Mapping[str, int]) -> str:
    """Return name, shape and mesh axes of every parameter; a stack of layers is one line, with `layers` as first axis.

    Args:
      params: nested dicts of arrays or their shapes.
      axes: the names of each parameter's logical axes, or None, nested alike.
      sizes: devices along each axis of the mesh.

    Returns:
      Lines such as `trunk.blocks.fused.qkv_kernel  12 768 3 12 64  -, fsdp, -, tensor, -`, sorted by name; `whole`
      marks a parameter that every device holds whole.
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
