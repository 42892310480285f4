"""Rules from logical axes to mesh axes: one small table for parameters, one for activations.

A parameter carries the names of its axes as the metadata `axes` (see `mmvideo.model.layers.basic.parameter`); one
without them is replicated on every device. An axis is also replicated if the mesh axis does not divide its size: a mesh
never forbids a model, it only splits less of it.

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
"""Rules for parameters; other axes (`layers`, `qkv`, `head`, `patch`, `norm`, `place`, `rank`, `out`) stay whole."""

ACTIVATIONS: Rules = {
    "batch": ("data", "fsdp"),
    "length": "context",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
}
"""Rules for activations: rows are split over both `data` and `fsdp`, and by length; `embed` stays whole."""


def partition(axes: Sequence[str | None], shape: Sequence[int], mesh: Any, rules: Rules) -> PartitionSpec:
    """Return the partition over the mesh of an array with these logical axes and this shape.

    A mesh axis is used once, by the first logical axis that asks for it, and only if it divides that axis of the array.

    Args:
      axes: a logical name, or None, for each axis of the array.
      shape: the array's shape.
      mesh: a `Mesh` or an `AbstractMesh`.
      rules: `PARAMETERS` or `ACTIVATIONS`.

    Raises:
      ValueError: the number of names is not the number of axes.
    """
    if len(axes) != len(shape):
        raise ValueError(f"an array of shape {tuple(shape)} needs {len(shape)} logical axes, got {tuple(axes)}")
    # Example: (layers, embed, qkv, heads, head) of shape (12, 192, 3, 3, 64) on fsdp=4, tensor=2 gives
    # (None, "fsdp", None, None, None): 4 divides 192, but 2 does not divide the 3 heads.
    used: set[str] = set()
    entries = []
    for name, size in zip(axes, shape, strict=True):
        wanted = rules.get(name) if name is not None else None
        wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())
        # Rows are split over `data` and `fsdp` together: with 2 and 4 devices into 8 parts, or not at all.
        ways = math.prod(mesh.shape[axis] for axis in wanted)
        if ways == 1 or size % ways or used & set(wanted):
            entries.append(None)
            continue
        used |= set(wanted)
        entries.append(wanted[0] if len(wanted) == 1 else wanted)
    return PartitionSpec(*entries)


def shardings(state: Any, mesh: jax.sharding.Mesh, rules: Rules = PARAMETERS) -> Any:
    """Return the tree of `state` with a NamedSharding in place of each array.

    Args:
      state: an `nnx.Module` or `nnx.State`, abstract or not, with the metadata `axes`. For plain nested dicts, pass the
        State and convert the result: `nnx.to_pure_dict(shardings(state, mesh))`.
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
    """Return the shardings of an optimiser's state, or of anything else built from parameters.

    A leaf whose path ends in a parameter's path and has its shape (a moment, an average of weights) is split like that
    parameter. Every other leaf (a count, a factored moment) is replicated.

    Args:
      tree: the optimiser's state, abstract or not.
      parameters: the tree it was built from, abstract or not.
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
        # Example: the path (0, mu, trunk, blocks, qkv_kernel) is tried without its first names, one more each time,
        # until (trunk, blocks, qkv_kernel) is a parameter's path.
        for first in range(len(names)):
            shape, sharding = known.get(names[first:], (None, None))
            if shape == leaf.shape:
                return sharding
        return whole

    return jax.tree_util.tree_map_with_path(place, tree)


def _names(path: tuple) -> tuple[str, ...]:
    """Return the keys of a path, for any kind of container."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Return the sharding of every array of a stream: rows over `data` and `fsdp`. Their length is split in `embed`."""
    return NamedSharding(mesh, PartitionSpec(ACTIVATIONS["batch"]))


def constrain(x: jax.Array, *axes: str | None, rules: Rules = ACTIVATIONS) -> jax.Array:
    """Return `x`, split within a jitted computation by its logical axes; unchanged where no mesh is set.

    The mesh is the one of `jax.set_mesh` around the call of the jitted function.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition(axes, x.shape, mesh, rules))
