"""From tokens to one vector a clip."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmvideo.stream import MODALITIES, Layout


def pool(
    tokens: Float[Array, "B L D"], layout: Layout, modalities: tuple[str, ...], clips: int
) -> tuple[Float[Array, "B E D"], Bool[Array, "B E"]]:
    """The mean over each clip's tokens of the named modalities.

    Args:
      tokens: features in the rows of `layout`.
      layout: which clip and modality each token is of.
      modalities: names out of `MODALITIES`; a clip's tokens of all of them count alike.
      clips: clip slots of a row, `E`.

    Returns:
      Means in float32, zero for a clip without any such token; and True for a clip that has tokens
      of every named modality. A clip that is not present has no part in any loss.

    Raises:
      ValueError: an unknown modality, or none.
    """
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown or not modalities:
        raise ValueError(f"cannot pool {unknown or 'no modality'}: name some of {', '.join(MODALITIES)}")
    numbers = [MODALITIES.index(name) for name in modalities]
    own = layout.clip[:, None, :] == jnp.arange(clips)[:, None]
    each = [own & (layout.modality == number)[:, None, :] for number in numbers]
    present = jnp.stack([member.any(axis=-1) for member in each]).all(axis=0)
    member = jnp.stack(each).any(axis=0)
    # Padding may hold anything, also what is not a number, and zero times that is not zero.
    tokens = jnp.where(layout.real[..., None], tokens, 0)
    total = jnp.einsum("bel,bld->bed", member.astype(tokens.dtype), tokens, preferred_element_type=jnp.float32)
    return total / jnp.maximum(member.sum(axis=-1), 1)[..., None], present
