"""Kernels of images to kernels of tubelets, so that video starts from what images have taught."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def inflate(kernel: Float[Array, "*patch D"], frames: int, how: str = "central") -> Float[Array, "t *patch D"]:
    """A kernel over `frames` frames made of one over a single frame (ViViT, Arnab et al. 2021, section 3.4).

    On a tubelet whose frames are all alike it gives what the image kernel gives of one of them, either way.

    Args:
      kernel: of an image patch; its last axis is the width.
      frames: of a tubelet.
      how: `mean` gives each frame the kernel, divided by their number (eq. 8); `central` gives frame
        `frames // 2`, counted from 0, the kernel and all others zero (eq. 9).

    Raises:
      ValueError: an unknown way, or no frames.
    """
    if frames < 1:
        raise ValueError(f"a tubelet of {frames} frames: it must have 1 or more")
    if how == "mean":
        return jnp.broadcast_to(kernel / frames, (frames, *kernel.shape))
    if how == "central":
        return jnp.zeros((frames, *kernel.shape), kernel.dtype).at[frames // 2].set(kernel)
    raise ValueError(f"inflation {how!r} is unknown: choose central or mean")
