"""Where a token stands, in three schemes: rotary, fixed sin-cos, learned tables.

Rotary and sin-cos share one clock: a frame and the sound of the same moment have the same time in
seconds, whatever the rate of either's tokens. The pairs of numbers are dealt to three axes:

| axis | unit | wavelengths | video | audio | text |
|---|---|---|---|---|---|
| time | seconds | 0.5 to 128 | middle of the tubelet | middle of the patch | 0 |
| y | cells | 4 to 400 | patch row | mel patch | 0 |
| x | cells | 4 to 400 | patch column | 0 | number of the piece |

The shortest time wave is about three tokens long at the usual 0.125 to 0.16 seconds a token, the
longest spans several views; in space the shortest is four cells and the longest stays monotonic
over a text of 200 pieces.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.layers import normal, parameter
from mmvideo.stream import Layout, Modality, StreamSpec

SECONDS = (0.5, 128.0)
"""Shortest and longest wavelength of time, in seconds."""

CELLS = (4.0, 400.0)
"""Shortest and longest wavelength of place, in cells of the grid (pieces for text)."""

Rotation = tuple[Array, Array]
"""Cosine and sine, each `[B, L, 1, H/2]` float32."""


def frequencies(pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angular frequencies of time (radians a second), y and x (radians a cell); `pairs` in all.

    y and x take a third each, time takes the rest; wavelengths are in geometric progression.
    """
    place = pairs // 3
    time = _waves(pairs - 2 * place, SECONDS)
    return time, _waves(place, CELLS), _waves(place, CELLS)


def _waves(count: int, wavelengths: tuple[float, float]) -> np.ndarray:
    return (2.0 * np.pi / np.geomspace(*wavelengths, count)).astype(np.float32)


def angles(layout: Layout, pairs: int) -> Float[Array, "B L pairs"]:
    """The angle of each pair of numbers, in radians, float32."""
    time, y, x = frequencies(pairs)
    grid = layout.grid.astype(jnp.float32)
    parts = (layout.time[..., None] * time, grid[..., 1:2] * y, grid[..., 2:3] * x)
    return jnp.concatenate(parts, axis=-1).astype(jnp.float32)


def rotation(layout: Layout, head: int) -> Rotation:
    """Cosine and sine by which `rotate` turns queries and keys of heads of width `head`."""
    angle = angles(layout, head // 2)[:, :, None, :]
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: Float[Array, "B L N H"], turn: Rotation) -> Float[Array, "B L N H"]:
    """Turns the pairs `(i, i + H/2)` by their angles, in float32 (Su et al. 2021, section 3.4.2).

    The product of a turned query and a turned key depends on the difference of their positions only.
    """
    cosine, sine = turn
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def sincos(layout: Layout, width: int) -> Float[Array, "B L D"]:
    """Sines, then cosines, of the angles of time, y and x (Vaswani et al. 2017, section 3.5)."""
    angle = angles(layout, width // 2)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class Tables(nnx.Module):
    """Learned positions: for each modality one table an axis, their rows summed (as ViViT and AST's kin).

    Time is counted in steps of the modality's own grid here, not in seconds; a place beyond the
    largest grid takes the last row.
    """

    def __init__(self, spec: StreamSpec, width: int, *, rngs: nnx.Rngs):
        self.sizes = tuple(_table_sizes(spec))
        for name, _, _, size in self.sizes:
            setattr(self, name, parameter(normal(rngs, (size, width)), "place", "embed"))

    def __call__(self, layout: Layout) -> Float[Array, "B L D"]:
        # One product with ones where a row is meant: its gradient is a product too, where that of
        # a gather would be a slow scatter.
        ones = [
            jax.nn.one_hot(jnp.clip(layout.grid[..., axis], 0, size - 1), size)
            * (layout.modality == modality)[..., None]
            for _, modality, axis, size in self.sizes
        ]
        rows = [getattr(self, name)[...] for name, *_ in self.sizes]
        return jnp.concatenate(ones, axis=-1) @ jnp.concatenate(rows, axis=0)


def _table_sizes(spec: StreamSpec) -> list[tuple[str, int, int, int]]:
    """Name, modality, axis of the grid and rows of each table; axes of one cell need none."""
    found = []
    for patches, modality in ((spec.video, Modality.VIDEO), (spec.audio, Modality.AUDIO)):
        if patches is not None:
            sizes = zip(("time", "y", "x"), patches.grid, strict=True)
            found += [(f"{modality.name.lower()}_{name}", int(modality), axis, size)
                      for axis, (name, size) in enumerate(sizes) if size > 1]  # fmt: skip
    if spec.text is not None:
        found.append(("text_x", int(Modality.TEXT), 2, spec.text.length))
    return found


class Position(nnx.Module):
    """One scheme of positions: what is added to the embedded tokens, and how queries and keys turn."""

    def __init__(self, scheme: str, spec: StreamSpec, width: int, head: int, *, rngs: nnx.Rngs):
        self.scheme, self.width, self.head = scheme, width, head
        self.tables = Tables(spec, width, rngs=rngs) if scheme == "learned" else None

    def add(self, x: Float[Array, "B L D"], layout: Layout) -> Float[Array, "B L D"]:
        """The tokens with their positions added; rotary adds nothing."""
        if self.tables is not None:
            return x + self.tables(layout).astype(x.dtype)
        if self.scheme == "sincos":
            return x + sincos(layout, self.width).astype(x.dtype)
        return x

    def rotation(self, layout: Layout) -> Rotation | None:
        """How queries and keys turn; None unless the scheme is rotary."""
        return rotation(layout, self.head) if self.scheme == "rotary" else None
