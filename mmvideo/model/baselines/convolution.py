"""Pictures to vectors by 2-D convolutions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.layers.basic import Linear, parameter, xavier

WINDOW = 3
"""Rows and columns of a convolution."""


class Convolution(nnx.Module):
    """A 3 × 3 convolution that keeps the size, ReLU, and the maximum of each 2 × 2 block.

    At an odd edge the last block is narrower.
    """

    def __init__(self, channels: int, out: int, *, rngs: nnx.Rngs):
        cells = WINDOW * WINDOW
        kernel = xavier(rngs, (WINDOW, WINDOW, channels, out), cells * channels, cells * out)
        self.conv_kernel = parameter(kernel, None, None, "patch", "embed")
        self.bias = parameter(jnp.zeros(out), "norm")

    def __call__(self, x: Float[Array, "n H W i"]) -> Float[Array, "n h w o"]:
        kernel = self.conv_kernel[...].astype(x.dtype)
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return halve(jax.nn.relu(x + self.bias[...].astype(x.dtype)))


def halve(x: Float[Array, "n H W o"]) -> Float[Array, "n h w o"]:
    """The maximum of each block of 2 × 2 numbers that are 0 or more."""
    rows, columns = x.shape[1:3]
    # Nothing is lower than a zero. Blocks as axes: the gradient of a windowed maximum is slow on a CPU.
    x = jnp.pad(x, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0)))
    return rearrange(x, "n (h y) (w x) o -> n h w (y x) o", y=2, x=2).max(axis=3)


class ImageEncoder(nnx.Module):
    """Convolutions, then a dense layer with ReLU over all that is left of the picture.

    Args:
      shape: rows, columns and colours of a picture.
      channels: of each convolution.
      width: numbers of the vector.
    """

    def __init__(self, shape: tuple[int, int, int], channels: tuple[int, ...], width: int, *, rngs: nnx.Rngs):
        rows, columns, colours = shape
        sizes = (colours, *channels)
        self.convolutions = nnx.Dict(
            {
                str(number): Convolution(before, after, rngs=rngs)
                for number, (before, after) in enumerate(zip(sizes, channels, strict=False))
            }
        )
        for _ in channels:
            rows, columns = -(-rows // 2), -(-columns // 2)
        self.dense = Linear(rows * columns * channels[-1], width, axes=("embed", "mlp"), rngs=rngs)

    def __call__(self, pictures: Float[Array, "*n H W c"]) -> Float[Array, "*n w"]:
        """Vectors in the dtype of the pictures."""
        x = pictures.reshape(-1, *pictures.shape[-3:])
        for convolution in self.convolutions.values():
            x = convolution(x)
        return jax.nn.relu(self.dense(x.reshape(*pictures.shape[:-3], -1)))
