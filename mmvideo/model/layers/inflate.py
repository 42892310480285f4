"""Kernels of images to kernels of tubelets, so that video starts from what images have taught."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmvideo.stream import StreamSpec

VIDEO_KERNEL = "embed.video.dense.kernel"
"""End of the name of the kernel that embeds tubelets, `[P, D]`, whose rows are in the order (t, y, x, colour)."""


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


def inflate_video(
    parameters: Mapping[str, np.ndarray], old: StreamSpec, new: StreamSpec, how: str
) -> dict[str, np.ndarray]:
    """The parameters of a model of single frames with its video embedder made one of tubelets.

    Args:
      parameters: by dotted name.
      old: what they were trained with; unless its tubelets are one frame long and otherwise those of
        `new`, nothing is changed.
      new: what they are wanted for.
      how: as of `inflate`.
    """
    found = dict(parameters)
    if old.video is None or new.video is None or old.video.patch != (1, *new.video.patch[1:]):
        return found
    for name in [name for name in found if name.endswith(VIDEO_KERNEL)]:
        kernel = inflate(jnp.asarray(found[name]), new.video.patch[0], how)
        found[name] = np.asarray(kernel.reshape(-1, kernel.shape[-1]))
    return found
