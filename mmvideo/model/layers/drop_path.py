"""Stochastic depth: which clips skip which branches of the layers (Huang et al. 2016)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


def drop_rates(rate: float, first: int, end: int, depth: int, count: int | None = None) -> Float[np.ndarray, " n"]:
    """The share of clips that skip a branch in layers `first` to `end - 1` of `depth`.

    It grows linearly from 0 in the first layer to `rate` in the last (their section 3, eq. 4).

    Args:
      rate: of the last layer.
      first, end: the layers.
      depth: of the model.
      count: layers of a modality that has another number of them here; they are spread over the same stretch.
    """
    count = end - first if count is None else count
    return rate * (first + np.arange(count) * (end - first) / count) / max(depth - 1, 1)


def drop_path_scales(
    key: Key[Array, ""], rates: Float[np.ndarray, " n"], rows: int, clips: int, rescale: bool = True
) -> Float[Array, "n 2 B E"]:
    """The factor of every clip's two branches in each layer: 0 where it is skipped, else one over the share kept.

    So the expectation of what a branch adds is the branch. Without `rescale` the factor is 1 where nothing is skipped.
    """
    share = jnp.asarray(1 - rates, jnp.float32)[:, None, None, None]
    kept = jax.random.bernoulli(key, share, (len(rates), 2, rows, clips))
    return kept / share if rescale else kept.astype(jnp.float32)
