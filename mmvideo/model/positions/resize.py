"""Learned positions of one grid made into those of another: of larger frames, longer clips, other frame rates.

A table is a function over the cells of its grid, sampled at their middles, and is sampled again at the middles of
the new cells.

- Space, and the mel bins of sound: the new grid shows what the old one showed, in more or fewer cells; bicubic
  (Keys 1981, a = -1/2), as ViT and VATT resize theirs.
- Time: a moment keeps its row, in seconds; linear. A shorter clip takes the first rows, another frame rate those in
  between. Of moments later than the old clip nothing was learned, so a longer one stretches the table over its length.
- Text: pieces keep their rows; those beyond the old length start as the new model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mmvideo.model.positions.learned import axis_tables
from mmvideo.stream import PatchSpec, StreamSpec

Parameters = Mapping[str, np.ndarray]
"""Parameters by dotted name; a table's ends in `tables.NAME`."""

FLAT = {"row": ((0, 1, 2), (0,)), "space": ((1, 2),)}
"""The axes that a table over a flat grid may be over: all; or those of a space encoder, and behind it time."""


def resize_positions(old: Parameters, new: Parameters, old_spec: StreamSpec, new_spec: StreamSpec) -> Parameters:
    """The old parameters, their learned positions made to fit the new grids.

    Args:
      old: of the model that was trained.
      new: of the model that takes them; what stands there for pieces beyond the old length is kept.
      old_spec, new_spec: the grids of both, with the seconds of a step.

    Returns:
      `old` with the tables replaced that both models have, in one width; everything else as it is.
    """
    fitted = {
        name: _fitted(name, table, new[name], old_spec, new_spec)
        for name, table in old.items()
        if _is_table(name, old_spec, new_spec) and name in new and table.shape[1:] == new[name].shape[1:]
    }
    return {**old, **fitted}


def _is_table(name: str, *specs: StreamSpec) -> bool:
    """Whether a parameter is a table of positions of modalities that all the specs have."""
    *_, parent, leaf = ("", *name.split("."))
    modality = leaf.partition("_")[0]
    return parent == "tables" and all(modality in spec.modalities for spec in specs)


def _fitted(name: str, table: np.ndarray, fresh: np.ndarray, old: StreamSpec, new: StreamSpec) -> np.ndarray:
    """One table at the size of the new one; as it is if the models differ in what it is over."""
    *_, leaf = name.split(".")
    modality, _, one_axis = leaf.partition("_")
    if modality == "text":
        return np.concatenate([table[: len(fresh)], fresh[len(table) :]])
    old_patches, new_patches = getattr(old, modality), getattr(new, modality)
    choices = [(axis_tables(old)[leaf][1],)] if one_axis else FLAT["space" if ".space." in name else "row"]
    for axes in choices:
        sizes = (math.prod(patches.grid[axis] for axis in axes) for patches in (old_patches, new_patches))
        if (len(table), len(fresh)) == tuple(sizes):
            return _resample(table, old_patches, new_patches, axes).reshape(fresh.shape)
    return table


def _resample(table: np.ndarray, old: PatchSpec, new: PatchSpec, axes: tuple[int, ...]) -> np.ndarray:
    """A table over some axes of the grid, in their order: first along time, then along space."""
    width = table.shape[-1]
    values = jnp.asarray(table).reshape(*(old.grid[axis] for axis in axes), width)
    for place, axis in enumerate(axes):
        scale = _scale(axis, old, new)
        if scale == 1 and old.grid[axis] >= new.grid[axis]:
            values = jax.lax.slice_in_dim(values, 0, new.grid[axis], axis=place)
            continue
        shape = (*values.shape[:place], new.grid[axis], *values.shape[place + 1 :])
        method = "linear" if axis == 0 else "cubic"
        values = jax.image.scale_and_translate(
            values, shape, (place,), jnp.asarray([scale], jnp.float32), jnp.zeros(1), method=method
        )
    return np.asarray(values, table.dtype)


def _scale(axis: int, old: PatchSpec, new: PatchSpec) -> float:
    """New cells in place of an old one."""
    stretched = new.grid[axis] / old.grid[axis]
    return max(old.seconds / new.seconds, stretched) if axis == 0 else stretched
