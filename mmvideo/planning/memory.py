"""Bytes of a training step, told from shapes: what is held for good, and what waits for the backward pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from mmvideo.parallel.mesh import AXES
from mmvideo.parallel.rules import PARAMETERS, partition


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
      parameters: of the learner, its other variables (a teacher's, for one) included.
      gradients: of the parameters.
      optimizer: state of the optimiser.
      average: moving average of the parameters.
      batch: the tokens and layouts of a batch.
      activations: what the forward pass keeps for the backward pass.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    activations: int

    @property
    def total(self) -> int:
        """All of them. XLA needs more, for what lives within a layer only."""
        return sum(dataclasses.asdict(self).values())


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree, which may be abstract."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def share_bytes(tree: Any, axes: Sequence[Sequence[str | None] | None], sizes: Mapping[str, int]) -> int:
    """Bytes that one device of a mesh holds of parameters.

    Args:
      tree: the arrays, which may be abstract.
      axes: the names of the logical axes of each array, in the order of the leaves; None is held whole.
      sizes: devices along each axis of the mesh.
    """
    mesh = jax.sharding.AbstractMesh(tuple(sizes[axis] for axis in AXES), AXES)
    total = 0
    for leaf, logical in zip(jax.tree.leaves(tree), axes, strict=True):
        split = () if logical is None else partition(logical, leaf.shape, mesh, PARAMETERS)
        used = [axis for entry in split if entry for axis in ((entry,) if isinstance(entry, str) else entry)]
        total += _bytes(leaf) // math.prod(sizes[axis] for axis in used)
    return total


def kept_bytes(loss: Callable[..., Any], parameters: Any, *arguments: Any) -> int:
    """Bytes that the forward pass of `loss(parameters, *arguments)` keeps for its gradient.

    That is what JAX's differentiation keeps, rematerialisation and custom gradients included, before
    XLA fuses anything.
    """

    def backward(parameters: Any, *arguments: Any) -> Any:
        return jax.vjp(lambda p: loss(p, *arguments), parameters)[1]

    jaxpr = jax.make_jaxpr(backward)(parameters, *arguments).jaxpr
    kept = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    return sum(_bytes(atom.aval) for atom in kept - set(jaxpr.invars))


def _bytes(leaf: Any) -> int:
    dtype = leaf.dtype
    # A key of a random stream is no number; its words are what it takes.
    size = 8 if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) else np.dtype(dtype).itemsize
    return math.prod(leaf.shape) * size
