"""Resampling of learned positions to another grid: larger frames, longer clips, other frame rates.

A table is a function over the cells of its grid, sampled at their middles. It is resampled at the middles of the new
cells.

- Space, and the mel bins of audio: the new grid covers the same extent with more or fewer cells. Interpolation is
  bicubic (Keys 1981, a = -1/2), as in ViT and VATT.
- Time: a moment keeps its row, in seconds. Interpolation is linear. A shorter clip takes the first rows, another frame
  rate interpolates between rows. Nothing was learned of moments later than the old clip, so a longer clip stretches the
  table over its length.
- Text: tokens keep their rows; rows beyond the old length start as in the new model.
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
"""Parameters by dotted name; a table's name ends in `tables.NAME`."""

FLAT = {"row": ((0, 1, 2), (0,)), "space": ((1, 2),)}
"""The axes that a flat table may cover: all; or those of a space encoder, and time in the backbone after it."""


def resize_positions(old: Parameters, new: Parameters, old_spec: StreamSpec, new_spec: StreamSpec) -> Parameters:
    """Return the old parameters with their learned positions resampled to the new grids.

    Args:
      old: parameters of the trained model.
      new: parameters of the model that loads them; its rows for text beyond the old length are kept.
      old_spec, new_spec: the grids of both, with the seconds of a step.

    Returns:
      `old`, with the tables replaced that both models have in the same width; the rest is unchanged.
    """
    fitted = {
        name: _fitted(name, table, new[name], old_spec, new_spec)
        for name, table in old.items()
        if _is_table(name, old_spec, new_spec) and name in new and table.shape[1:] == new[name].shape[1:]
    }
    return {**old, **fitted}


def _is_table(name: str, *specs: StreamSpec) -> bool:
    """Return whether a parameter is a table of positions of a modality that all the specs have."""
    # The empty string stands for the parent of a name without dots.
    *_, parent, leaf = ("", *name.split("."))
    modality = leaf.partition("_")[0]
    return parent == "tables" and all(modality in spec.modalities for spec in specs)


def _fitted(name: str, table: np.ndarray, fresh: np.ndarray, old: StreamSpec, new: StreamSpec) -> np.ndarray:
    """Return one table at the size of the new one; unchanged if the models' tables cover different axes."""
    *_, leaf = name.split(".")
    modality, _, one_axis = leaf.partition("_")
    if modality == "text":
        return np.concatenate([table[: len(fresh)], fresh[len(table) :]])
    old_patches, new_patches = getattr(old, modality), getattr(new, modality)
    # The number of rows identifies the axes of a flat table. Example, grid (8, 14, 14): 1568 rows are all axes, 8 rows
    # are time (in the backbone after a space encoder), and 196 rows in a space encoder are one frame.
    choices = [(axis_tables(old)[leaf][1],)] if one_axis else FLAT["space" if ".space." in name else "row"]
    for axes in choices:
        sizes = (math.prod(patches.grid[axis] for axis in axes) for patches in (old_patches, new_patches))
        if (len(table), len(fresh)) == tuple(sizes):
            return _resample(table, old_patches, new_patches, axes).reshape(fresh.shape)
    return table


def _resample(table: np.ndarray, old: PatchSpec, new: PatchSpec, axes: tuple[int, ...]) -> np.ndarray:
    """Return a table over some axes of the grid, in their order, resampled first in time, then in space."""
    width = table.shape[-1]
    values = jnp.asarray(table).reshape(*(old.grid[axis] for axis in axes), width)
    for dim, axis in enumerate(axes):
        scale = _scale(axis, old, new)
        if scale == 1 and old.grid[axis] >= new.grid[axis]:
            # Equal cells: rows are copied exactly, and a shorter clip takes the first ones.
            values = jax.lax.slice_in_dim(values, 0, new.grid[axis], axis=dim)
            continue
        shape = (*values.shape[:dim], new.grid[axis], *values.shape[dim + 1 :])
        method = "linear" if axis == 0 else "cubic"
        values = jax.image.scale_and_translate(
            values, shape, (dim,), jnp.asarray([scale], jnp.float32), jnp.zeros(1), method=method
        )
    return np.asarray(values, table.dtype)


def _scale(axis: int, old: PatchSpec, new: PatchSpec) -> float:
    """Return the number of new cells per old cell on an axis of the grid."""
    # Examples in time, from 8 steps of 0.25 s: 16 steps of 0.125 s give 2 (same clip, twice the rate); 16 steps of
    # 0.25 s give 2 (longer clip, stretched); 4 steps of 0.25 s give 1 (shorter clip, first rows).
    stretched = new.grid[axis] / old.grid[axis]
    return max(old.seconds / new.seconds, stretched) if axis == 0 else stretched
