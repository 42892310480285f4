"""Inflation of image kernels to tubelet kernels, so that a video model can start from image weights."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmvideo.stream import StreamSpec

VIDEO_KERNEL = "embed.video.dense.kernel"
"""Suffix of the name of the kernel that embeds tubelets, `[P, D]`, whose rows are in the order (t, y, x, colour)."""


def inflate(kernel: Float[Array, "*patch D"], frames: int, how: str = "central") -> Float[Array, "t *patch D"]:
    """Return a kernel over `frames` frames from one over a single frame (ViViT, Arnab et al. 2021, section 3.4).

    On a tubelet of equal frames it gives the output of the image kernel on one of them, for either value of `how`.

    Args:
      kernel: kernel of an image patch; its last axis is the width.
      frames: frames of a tubelet.
      how: `mean` gives each frame the kernel divided by the number of frames (eq. 8); `central` gives frame
        `frames // 2`, counted from 0, the kernel, and zero to the rest (eq. 9).

    Raises:
      ValueError: an unknown `how`, or no frames.
    """
    if frames < 1:
        raise ValueError(f"a tubelet of {frames} frames: it must have 1 or more")
    # Example: a kernel k and 2 frames: mean [k/2, k/2], central [0, k].
    if how == "mean":
        return jnp.broadcast_to(kernel / frames, (frames, *kernel.shape))
    if how == "central":
        return jnp.zeros((frames, *kernel.shape), kernel.dtype).at[frames // 2].set(kernel)
    raise ValueError(f"inflation {how!r} is unknown: choose central or mean")


def inflate_video(
    parameters: Mapping[str, np.ndarray], old: StreamSpec, new: StreamSpec, how: str
) -> dict[str, np.ndarray]:
    """Return the parameters of a model of single frames with its video embedder inflated to tubelets.

    Args:
      parameters: parameters by dotted name.
      old: the stream that they were trained with. Nothing is changed unless its tubelets are one frame long and
        otherwise equal to those of `new`.
      new: the stream of the new model.
      how: as for `inflate`.
    """
    found = dict(parameters)
    if old.video is None or new.video is None or old.video.patch != (1, *new.video.patch[1:]):
        return found
    for name in [name for name in found if name.endswith(VIDEO_KERNEL)]:
        kernel = inflate(jnp.asarray(found[name]), new.video.patch[0], how)
        found[name] = np.asarray(kernel.reshape(-1, kernel.shape[-1]))
    return found
