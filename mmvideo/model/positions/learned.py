"""Learned positions: one table per axis of the grid, or one table over the whole flat grid."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.layers.basic import normal, parameter
from mmvideo.model.positions.sincos import flat_index
from mmvideo.model.sharding import whole
from mmvideo.stream import Modality, StreamSpec, TokenLayout

AXES = {"video": ("time", "y", "x"), "audio": ("time", "y")}
"""Names of the axes of each patched modality's grid; the third axis of a spectrogram has one cell."""


class AxisTables(nnx.Module):
    """One table per axis of each modality, whose rows are summed (VATT, Akbari et al. 2021, eq. 1).

    Time is counted in steps of the modality's own grid, not in seconds. A cell beyond the largest grid uses the last
    row. The tables are `video_time`, `video_y`, …, and `text_x` for the text tokens.
    """

    def __init__(self, spec: StreamSpec, width: int, *, rngs: nnx.Rngs):
        self.sizes = tuple((name, *table) for name, table in axis_tables(spec).items())
        for name, *_, size in self.sizes:
            setattr(self, name, parameter(normal(rngs, (size, width)), "place", "embed"))

    def __call__(self, layout: TokenLayout) -> Float[Array, "B L D"]:
        # One product with one-hot indices: its gradient is a product too, where that of a gather would be a slow
        # scatter. Example: a video token at cell (t, y, x) has three ones: row t of `video_time`, row y of `video_y`
        # and row x of `video_x`, so the product sums those three rows.
        ones = [
            jax.nn.one_hot(jnp.clip(layout.grid[..., axis], 0, size - 1), size)
            * (layout.modality == modality)[..., None]
            for _, modality, axis, size in self.sizes
        ]
        rows = [getattr(self, name)[...] for name, *_ in self.sizes]
        return jnp.concatenate(ones, axis=-1) @ jnp.concatenate(rows, axis=0)


class FlatTables(nnx.Module):
    """One table per modality over its flat grid in row-major order (ViT, AST, MBT); `text` is over the text tokens."""

    def __init__(self, spec: StreamSpec, width: int, *, rngs: nnx.Rngs):
        self.spec = spec
        self.sizes = tuple(flat_tables(spec).items())
        for name, size in self.sizes:
            setattr(self, name, parameter(normal(rngs, (size, width)), "place", "embed"))

    def __call__(self, layout: TokenLayout) -> Float[Array, "B L D"]:
        # All tables are one, so that there is one gather: with video of 8 cells and audio of 4, audio cell 1 is row 9.
        table = jnp.concatenate([getattr(self, name)[...] for name, _ in self.sizes], axis=0)
        row = flat_index(layout, self.spec)
        first = 0
        for name, size in self.sizes:
            row = row + jnp.where(layout.modality == Modality[name.upper()], first, 0)
            first += size
        return jnp.where(layout.is_token[..., None], jnp.take(whole(table), row, axis=0, mode="clip"), 0)


def axis_tables(spec: StreamSpec) -> dict[str, tuple[int, int, int]]:
    """Return modality, axis of the grid and number of rows for the name of each table."""
    found = {}
    for name, axes in AXES.items():
        if getattr(spec, name) is not None:
            for axis, label in enumerate(axes):
                found[f"{name}_{label}"] = (int(Modality[name.upper()]), axis, getattr(spec, name).grid[axis])
    if spec.text is not None:
        found["text_x"] = (int(Modality.TEXT), 2, spec.text.length)
    return found


def flat_tables(spec: StreamSpec) -> dict[str, int]:
    """Return the number of rows of each modality's table."""
    found = {name: int(np.prod(getattr(spec, name).grid)) for name in AXES if getattr(spec, name) is not None}
    return found | ({"text": spec.text.length} if spec.text is not None else {})
