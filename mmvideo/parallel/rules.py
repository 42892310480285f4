"""From logical axes to mesh axes: one small table for parameters, one for activations.

A parameter carries the names of its axes as the metadata `axes` (see `mmvideo.model.layers.basic.parameter`);
one without them is held whole by every device. An axis whose size the mesh axis does not divide is
held whole too: a mesh never forbids a model, it only splits less of it.

    model = nnx.eval_shape(lambda: Learner(...))
    state = nnx.state(model)                           # abstract
    places = shardings(state, mesh)                    # the same tree, of NamedSharding
    optimiser = follow(jax.eval_shape(tx.init, state), state, places, mesh)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

Rules = Mapping[str, str | tuple[str, ...] | None]

PARAMETERS: Rules = {
    "embed": "fsdp",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
}
"""For parameters; other axes (`layers`, `qkv`, `head`, `patch`, `norm`, `place`, `rank`, `out`) stay whole."""

ACTIVATIONS: Rules = {
    "batch": ("data", "fsdp"),
    "length": "context",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
}
"""For activations: rows are split over both `data` and `fsdp`, and by their length; `embed` stays whole."""


def partition(axes: Sequence[str | None], shape: Sequence[int], mesh: Any, rules: Rules) -> PartitionSpec:
    """How an array with these logical axes and this shape is split over the mesh.

    A mesh axis is used once, by the first logical axis that asks for it, and only if it divides
    that axis of the array.

    Args:
      axes: a logical name, or None, for each axis of the array.
      shape: the array's shape.
      mesh: a `Mesh` or an `AbstractMesh`.
      rules: `PARAMETERS` or `ACTIVATIONS`.

    Raises:
      ValueError: not one name for each axis.
    """
    if len(axes) != len(shape):
        raise ValueError(f"an array of shape {tuple(shape)} needs {len(shape)} logical axes, got {tuple(axes)}")
    used: set[str] = set()
    entries = []
    for name, size in zip(axes, shape, strict=True):
        wanted = rules.get(name) if name is not None else None
        wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())
        ways = math.prod(mesh.shape[axis] for axis in wanted)
        if ways == 1 or size % ways or used & set(wanted):
            entries.append(None)
            continue
        used |= set(wanted)
        entries.append(wanted[0] if len(wanted) == 1 else wanted)
    return PartitionSpec(*entries)


def shardings(state: Any, mesh: jax.sharding.Mesh, rules: Rules = PARAMETERS) -> Any:
    """Where each parameter lives: the tree of `state` with a NamedSharding in place of each array.

    Args:
      state: an `nnx.Module` or `nnx.State`, abstract or not, with the metadata `axes`. For plain
        nested dicts, give the State here and convert the answer: `nnx.to_pure_dict(shardings(state, mesh))`.
      mesh: from `make_mesh`.
      rules: logical to mesh axes.
    """
    if isinstance(state, nnx.Module):
        state = nnx.state(state)

    def place(variable: Any) -> Any:
        if not isinstance(variable, nnx.Variable):
            return NamedSharding(mesh, PartitionSpec())
        axes = variable.get_metadata().get("axes")
        spec = PartitionSpec() if axes is None else partition(axes, variable.get_value().shape, mesh, rules)
        return variable.replace(NamedSharding(mesh, spec))

    return jax.tree.map(place, state, is_leaf=lambda node: isinstance(node, nnx.Variable))


def follow(tree: Any, parameters: Any, places: Any, mesh: jax.sharding.Mesh) -> Any:
    """Where an optimiser's state (or anything else made from parameters) lives: beside its parameter.

    A leaf whose path ends in a parameter's path and has its shape (a moment, an average of weights)
    is split as that parameter is; every other leaf (a count, a factored moment) is held whole.

    Args:
      tree: the optimiser's state, abstract or not.
      parameters: the tree it was made from, abstract or not.
      places: a tree like `parameters` with its shardings.
      mesh: from `make_mesh`.

    Returns:
      A tree like `tree` of NamedSharding.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(parameters)
    known = {
        _names(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(paths, jax.tree.leaves(places), strict=True)
    }
    whole = NamedSharding(mesh, PartitionSpec())

    def place(path: tuple, leaf: Any) -> NamedSharding:
        names = _names(path)
        for first in range(len(names)):
            shape, sharding = known.get(names[first:], (None, None))
            if shape == leaf.shape:
                return sharding
        return whole

    return jax.tree_util.tree_map_with_path(place, tree)


def _names(path: tuple) -> tuple[str, ...]:
    """The keys of a path, whatever kind of container they index."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """How every array of a stream is split: its rows over `data` and `fsdp`. Their length is split later (`embed`)."""
    return NamedSharding(mesh, PartitionSpec(ACTIVATIONS["batch"]))


def constrain(x: jax.Array, *axes: str | None, rules: Rules = ACTIVATIONS) -> jax.Array:
    """`x`, split within a jitted computation as its logical axes say; as it is where no mesh is set.

    The mesh is the one of `jax.set_mesh` around the call of the jitted function.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition(axes, x.shape, mesh, rules))
