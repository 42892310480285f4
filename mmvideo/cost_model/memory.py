"""Bytes of a training step on one device of a mesh: what is held for good, and what a step works with."""

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
"""The names of the logical axes of each array, in the order of the leaves; None is held whole."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
      parameters: of the learner, its other variables (a teacher's, for one) included.
      gradients: of the parameters.
      optimizer: state of the optimiser.
      average: moving average of the parameters.
      batch: the tokens and layouts of a batch.
      activations: what a step holds beside them where it holds most: what the forward pass keeps for the backward
        pass, and what a layer, a loss or the update is working with.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(dataclasses.asdict(self).values())

    @property
    def held(self) -> int:
        """What is there before a step begins: its arguments."""
        return self.total - self.gradients - self.activations


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree, which may be abstract."""
    return sum(array_bytes(leaf) for leaf in jax.tree.leaves(tree))


def share_bytes(tree: Any, axes: Axes, sizes: Mapping[str, int]) -> int:
    """Bytes that one device of a mesh holds of parameters, which may be abstract; see `shard_factors`."""
    leaves = jax.tree.leaves(tree)
    return sum(array_bytes(leaf) // parts for leaf, parts in zip(leaves, shard_factors(tree, axes, sizes), strict=True))


def shard_factors(tree: Any, axes: Axes, sizes: Mapping[str, int]) -> list[int]:
    """Into how many parts a mesh cuts each parameter.

    Args:
      tree: the parameters, which may be abstract.
      axes: the names of their axes.
      sizes: devices along each axis of the mesh.
    """
    mesh = jax.sharding.AbstractMesh(tuple(sizes[axis] for axis in AXES), AXES)
    found = []
    for leaf, logical in zip(jax.tree.leaves(tree), axes, strict=True):
        split = () if logical is None else partition(logical, leaf.shape, mesh, PARAMETERS)
        used = [axis for entry in split if entry for axis in ((entry,) if isinstance(entry, str) else entry)]
        found.append(math.prod(sizes[axis] for axis in used))
    return found


def shard_factor(logical: str, sizes: Mapping[str, int]) -> int:
    """Into how many parts a mesh cuts an axis of activations, such as `batch`."""
    axes = ACTIVATIONS.get(logical) or ()
    return math.prod(sizes[axis] for axis in ((axes,) if isinstance(axes, str) else axes))
