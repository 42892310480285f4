"""Position schemes: the choice between them, and the two that use seconds, rotary and sin-cos.

Rotary and `sincos` share one clock: a frame and the audio of the same moment have the same time in seconds, whatever
the token rate of each. Pairs of elements are divided among three axes:

| axis | unit | wavelengths | video | audio | text |
|---|---|---|---|---|---|
| time | seconds | 0.5 to 128 | middle of the tubelet | middle of the patch | 0 |
| y | cells | 4 to 400 | patch row | mel patch | index of the caption |
| x | cells | 4 to 400 | patch column | 0 | index of the token |

The shortest wavelength in time is about three tokens at the usual 0.125 to 0.16 seconds per token, and the longest
covers several views. In space the shortest is four cells, and the longest stays monotonic over a text of 200 tokens.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.positions.learned import AxisTables, FlatTables
from mmvideo.model.positions.sincos import sincos_1d, sincos_2d, sincos_2d_turned, sincos_3d
from mmvideo.stream import StreamSpec, TokenLayout

SECONDS = (0.5, 128.0)
"""Shortest and longest wavelength in time, in seconds."""

CELLS = (4.0, 400.0)
"""Shortest and longest wavelength in space, in cells of the grid (tokens for text)."""

Rotation = tuple[Array, Array]
"""Cosine and sine, float32: `[B, L, 1, H/2]` for pairs `(i, i + H/2)`, `[B, L, 1, H]` for pairs `(2i, 2i + 1)`."""

CELL_BASE = 10000.0
"""Base of the wavelengths of `rotary_3d`."""


def frequencies(pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the angular frequencies of time (radians per second), y and x (radians per cell); `pairs` in all.

    y and x get a third each, time gets the rest; wavelengths are in geometric progression.
    """
    # Example: 32 pairs (heads of width 64): 12 for time, 10 for y, 10 for x.
    per_axis = pairs // 3
    time = _waves(pairs - 2 * per_axis, SECONDS)
    return time, _waves(per_axis, CELLS), _waves(per_axis, CELLS)


def _waves(count: int, wavelengths: tuple[float, float]) -> np.ndarray:
    return (2.0 * np.pi / np.geomspace(*wavelengths, count)).astype(np.float32)


def angles(layout: TokenLayout, pairs: int) -> Float[Array, "B L pairs"]:
    """Return the angle of each pair of elements, in radians, float32."""
    time, y, x = frequencies(pairs)
    grid = layout.grid.astype(jnp.float32)
    parts = (layout.time[..., None] * time, grid[..., 1:2] * y, grid[..., 2:3] * x)
    return jnp.concatenate(parts, axis=-1).astype(jnp.float32)


def rotation(layout: TokenLayout, head: int) -> Rotation:
    """Return the cosine and sine by which `rotate` turns queries and keys of heads of width `head`."""
    angle = angles(layout, head // 2)[:, :, None, :]
    return jnp.cos(angle), jnp.sin(angle)


def cell_rotation(layout: TokenLayout, head: int) -> Rotation:
    """Return the cosine and sine of `rotary_3d`, as in the code of V-JEPA 2 (`rotate_queries_or_keys`).

    Of the `H` elements of a head, the first `d = 2 floor(floor(H / 3) / 2)` turn by the cell in time, the next `d` by
    that in y, the next `d` by that in x, and the rest stay. For `d = 6` the three frequencies `a b c` are laid out as
    `a b c a b c`, while the pairs are neighbours, so the two elements of a pair turn by different angles. This is no
    rotation, but published weights were trained with it.
    """
    # Example: head 64: 20 elements for each axis, and 4 that stay (padded angles of 0).
    size = 2 * (head // 3 // 2)
    frequency = CELL_BASE ** (-np.arange(size // 2) / (size / 2))
    tiled = np.tile(frequency, 2).astype(np.float32)
    angle = layout.grid[..., None].astype(jnp.float32) * tiled
    angle = angle.reshape(*angle.shape[:-2], 3 * size)
    angle = jnp.pad(angle, ((0, 0), (0, 0), (0, head - 3 * size)))[:, :, None, :]
    return jnp.cos(angle), jnp.sin(angle)


@jax.named_scope("rotary")
def rotate(x: Float[Array, "B L N H"], turn: Rotation) -> Float[Array, "B L N H"]:
    """Rotate pairs of elements by their angles, in float32 (Su et al. 2021, section 3.4.2).

    If both elements of a pair have the same angle, the product of a rotated query and a rotated key depends only on the
    difference of their positions.
    """
    cosine, sine = turn
    if cosine.shape[-1] == x.shape[-1]:
        wide = x.astype(jnp.float32)
        pairs = wide.reshape(*wide.shape[:-1], -1, 2)
        across = jnp.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(wide.shape)
        return (wide * cosine + across * sine).astype(x.dtype)
    # `x C + roll(x) S`: every number is made in its place, so that XLA needs no array of halves.
    wide, half = x.astype(jnp.float32), cosine.shape[-1]
    cosines, sines = jnp.concatenate([cosine, cosine], axis=-1), jnp.concatenate([-sine, sine], axis=-1)
    return (wide * cosines + jnp.roll(wide, half, axis=-1) * sines).astype(x.dtype)


def sincos(layout: TokenLayout, width: int) -> Float[Array, "B L D"]:
    """Return the sines, then the cosines, of the angles of time, y and x (Vaswani et al. 2017, section 3.5)."""
    angle = angles(layout, width // 2)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class Position(nnx.Module):
    """A position scheme: positions added to the embedded tokens, and the rotation of queries and keys.

    Args:
      scheme: `rotary`, `rotary_3d` or `sincos` (this file), `sincos_1d` to `sincos_3d`
        (`mmvideo.model.positions.sincos`), `learned` or `learned_1d` (`mmvideo.model.positions.learned`), `none`.
      spec: the grids of the modalities.
      width, head: `D` and `H`.
    """

    def __init__(self, scheme: str, spec: StreamSpec, width: int, head: int, *, rngs: nnx.Rngs):
        self.scheme, self.spec, self.width, self.head = scheme, spec, width, head
        learned = {"learned": AxisTables, "learned_1d": FlatTables}
        self.tables = learned[scheme](spec, width, rngs=rngs) if scheme in learned else None

    def add(self, x: Float[Array, "B L D"], layout: TokenLayout) -> Float[Array, "B L D"]:
        """Return the tokens with their positions added; rotary schemes and `none` add nothing."""
        added = self._added(layout)
        return x if added is None else x + added.astype(x.dtype)

    def rotation(self, layout: TokenLayout) -> Rotation | None:
        """Return the rotation of queries and keys; None unless the scheme is a rotary one."""
        if self.scheme == "rotary_3d":
            return cell_rotation(layout, self.head)
        return rotation(layout, self.head) if self.scheme == "rotary" else None

    def _added(self, layout: TokenLayout) -> Float[Array, "B L D"] | None:
        if self.tables is not None:
            return self.tables(layout)
        match self.scheme:
            case "sincos":
                return sincos(layout, self.width)
            case "sincos_1d":
                return sincos_1d(layout, self.spec, self.width)
            case "sincos_2d":
                return sincos_2d(layout, self.width)
            case "sincos_2d_time_first":
                return sincos_2d(layout, self.width, time_first=True)
            case "sincos_2d_turned":
                return sincos_2d_turned(layout, self.spec, self.width)
            case "sincos_3d":
                return sincos_3d(layout, self.width)
        return None
