"""Conversion of a state to flat dicts of arrays by dotted name, as in a checkpoint, and back.

The parts are `params`, `ema`, `variables` and `rest` (optimiser state, counters); array names start with the name of
their part. A random key is stored as its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from mmvideo.training.state import TrainState

REST = ("opt_state", "step", "skipped", "bad_in_a_row", "spikes")


def parts_of(state: TrainState) -> dict[str, dict[str, Any]]:
    """Return the state as flat dicts of arrays by dotted name; random keys as their words."""
    rest = {name: getattr(state, name) for name in REST}
    parts = {"params": state.params, "ema": state.ema, "variables": state.variables, "rest": rest}
    return {name: flat(part, name) for name, part in parts.items() if part is not None}


def assemble(abstract: TrainState, arrays: Mapping[str, jax.Array]) -> TrainState:
    """Return the state with its leaves replaced by `arrays`."""
    rest = {name: getattr(abstract, name) for name in REST}
    return TrainState(
        params=fill(abstract.params, "params", arrays),
        ema=fill(abstract.ema, "ema", arrays),
        variables=fill(abstract.variables, "variables", arrays),
        **fill(rest, "rest", arrays),
    )


def flat(tree: Any, prefix: str) -> dict[str, Any]:
    """Return the leaves of a tree by dotted name, starting with `prefix`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(prefix, path): _words(leaf) for path, leaf in leaves}


def fill(tree: Any, prefix: str, arrays: Mapping[str, jax.Array]) -> Any:
    """Return the tree with its leaves replaced by `arrays`."""

    def leaf(path: tuple[Any, ...], wanted: Any) -> jax.Array:
        array = arrays[_name(prefix, path)]
        is_key = jax.dtypes.issubdtype(wanted.dtype, jax.dtypes.prng_key)
        return jax.random.wrap_key_data(array, impl=_key_kind(wanted)) if is_key else array

    return jax.tree_util.tree_map_with_path(leaf, tree)


def _name(prefix: str, path: tuple[Any, ...]) -> str:
    return prefix + "".join("." + jax.tree_util.keystr((key,), simple=True) for key in path)


def _key_kind(wanted: jax.ShapeDtypeStruct) -> Any:
    """Return the generator of an abstract random key; JAX reports it only for traced keys."""
    kinds = []
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), wanted)
    return kinds[0]


def _words(leaf: Any) -> Any:
    """Return a random key's words in place of the key; any other leaf unchanged."""
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        words = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)
