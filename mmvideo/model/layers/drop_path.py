"""Stochastic depth: clips skip branches of layers at random in training (Huang et al. 2016)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


def drop_rates(rate: float, first: int, end: int, depth: int, count: int | None = None) -> Float[np.ndarray, " n"]:
    """Return the share of clips that skip a branch in layers `first` to `end - 1` of `depth`.

    It grows linearly from 0 in the first layer to `rate` in the last (their section 3, eq. 4).

    Args:
      rate: share in the last layer.
      first, end: range of layers.
      depth: layers of the model.
      count: layers of a modality that has another number of them in this range; they are spread over the same range.
    """
    # Example: rate 0.3, depth 4: layers 0 to 3 have [0, 0.1, 0.2, 0.3]. Two layers spread over them have [0, 0.2].
    count = end - first if count is None else count
    return rate * (first + np.arange(count) * (end - first) / count) / max(depth - 1, 1)


def drop_path_scales(
    key: Key[Array, ""], rates: Float[np.ndarray, " n"], rows: int, clips: int, rescale: bool = True
) -> Float[Array, "n 2 B E"]:
    """Return the factor of every clip's two branches in each layer: 0 if it is skipped, else one over the share kept.

    The expectation of a branch's output is thus unchanged. Without `rescale` the factor is 1 if it is not skipped.
    """
    # Example: rate 0.2: the factor is 1.25 with probability 0.8, else 0; its mean is 1.
    share = jnp.asarray(1 - rates, jnp.float32)[:, None, None, None]
    kept = jax.random.bernoulli(key, share, (len(rates), 2, rows, clips))
    return kept / share if rescale else kept.astype(jnp.float32)
