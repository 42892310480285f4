"""Bytes of a training step on one device of a mesh: the persistent state and the working memory of a step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from mmvideo.cost_model.peak_memory import array_bytes
from mmvideo.parallel.mesh import AXES
from mmvideo.parallel.rules import ACTIVATIONS, PARAMETERS, partition

Axes = Sequence[Sequence[str | None] | None]
"""The names of the logical axes of each array, in the order of the leaves; None: the array is replicated."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes by use.

    Attributes:
      parameters: bytes of the learner's parameters, and of its other variables such as a teacher's.
      gradients: bytes of the gradients.
      optimizer: bytes of the optimiser's state.
      average: bytes of the moving average of the parameters.
      batch: bytes of the tokens and layouts of a batch.
      activations: further bytes at the peak of a step: activations saved for the backward pass, and the working memory
        of a layer, a loss or the update.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of all bytes."""
        return sum(dataclasses.asdict(self).values())

    @property
    def held(self) -> int:
        """Bytes held before a step begins: its arguments."""
        return self.total - self.gradients - self.activations


def tree_bytes(tree: Any) -> int:
    """Return the bytes of all arrays of a tree, which may be abstract."""
    return sum(array_bytes(leaf) for leaf in jax.tree.leaves(tree))


def share_bytes(tree: Any, axes: Axes, sizes: Mapping[str, int]) -> int:
    """Return the bytes of parameters, which may be abstract, on one device of a mesh; see `shard_factors`."""
    leaves = jax.tree.leaves(tree)
    return sum(array_bytes(leaf) // parts for leaf, parts in zip(leaves, shard_factors(tree, axes, sizes), strict=True))


def shard_factors(tree: Any, axes: Axes, sizes: Mapping[str, int]) -> list[int]:
    """Return the number of shards into which a mesh splits each parameter.

    Args:
      tree: the parameters, which may be abstract.
      axes: the names of their axes.
      sizes: devices along each axis of the mesh.
    """
    # An abstract mesh needs no devices, so a plan for 512 of them runs on a laptop.
    mesh = jax.sharding.AbstractMesh(tuple(sizes[axis] for axis in AXES), AXES)
    found = []
    for leaf, logical in zip(jax.tree.leaves(tree), axes, strict=True):
        split = () if logical is None else partition(logical, leaf.shape, mesh, PARAMETERS)
        # An entry of a partition is None, one mesh axis, or a tuple of several.
        used = [axis for entry in split if entry for axis in ((entry,) if isinstance(entry, str) else entry)]
        found.append(math.prod(sizes[axis] for axis in used))
    return found


def shard_factor(logical: str, sizes: Mapping[str, int]) -> int:
    """Return the number of shards into which a mesh splits an axis of activations, such as `batch`."""
    axes = ACTIVATIONS.get(logical) or ()
    return math.prod(sizes[axis] for axis in ((axes,) if isinstance(axes, str) else axes))
