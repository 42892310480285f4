"""A 2-D convolutional encoder from images to vectors."""

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
    """Return the maximum of each block of 2 × 2 elements; elements must be 0 or more."""
    rows, columns = x.shape[1:3]
    # Zero padding is harmless: after ReLU no element is below 0. Blocks become axes because the gradient of a windowed
    # maximum is slow on a CPU. Example: 5 x 4 elements are padded to 6 x 4 and halved to 3 x 2.
    x = jnp.pad(x, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0)))
    return rearrange(x, "n (h y) (w x) o -> n h w (y x) o", y=2, x=2).max(axis=3)


class ImageEncoder(nnx.Module):
    """Convolutions, then a dense layer with ReLU over the flattened result.

    Args:
      shape: rows, columns and colours of an image.
      channels: channels of each convolution.
      width: width of the vector.
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
            # Each convolution halves the sides, rounded up: 224 rows and 3 convolutions leave 28.
            rows, columns = -(-rows // 2), -(-columns // 2)
        self.dense = Linear(rows * columns * channels[-1], width, axes=("embed", "mlp"), rngs=rngs)

    def __call__(self, images: Float[Array, "*n H W c"]) -> Float[Array, "*n w"]:
        """Return vectors in the dtype of the images."""
        x = images.reshape(-1, *images.shape[-3:])
        for convolution in self.convolutions.values():
            x = convolution(x)
        return jax.nn.relu(self.dense(x.reshape(*images.shape[:-3], -1)))
