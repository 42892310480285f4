"""Low-rank products that are added to the matrices of stacked layers.

Letters: `n` stacked layers, `r` the rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

LORA = "lora"
"""Name of the updates of a stack of layers, next to its weights."""

PRODUCTS = {
    # target: (kernel, index among queries, keys and values, einsum of A and B, number of input axes of the kernel)
    "query": ("qkv_kernel", 0, "ndr,nrhk->ndhk", 1),
    "key": ("qkv_kernel", 1, "ndr,nrhk->ndhk", 1),
    "value": ("qkv_kernel", 2, "ndr,nrhk->ndhk", 1),
    "out": ("out_kernel", None, "nhkr,nrd->nhkd", 2),
    "gate": ("gate_kernel", None, "ndr,nrf->ndf", 1),
    "up": ("up_kernel", None, "ndr,nrf->ndf", 1),
    "down": ("down_kernel", None, "nfr,nrd->nfd", 1),
}
"""The matrices of a layer that may have an update."""


def adapted(layers: Mapping[str, Any], factors: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Return the weights of stacked layers with their low-rank updates added.

    Args:
      layers: the weights; those that a modality owns are nested under its name.
      factors: `TARGET_a_kernel` and `TARGET_b_kernel`, nested in the same way.
      scale: `alpha / r`.
    """
    found = dict(layers)
    for name, value in factors.items():
        if isinstance(value, Mapping):
            found[name] = adapted(layers[name], value, scale)
        elif name.endswith("_a_kernel"):
            target = name.removesuffix("_a_kernel")
            kernel, part, product, _ = PRODUCTS[target]
            # A merged matrix must equal the one that was trained, so the product is never in lower precision.
            update = scale * jnp.einsum(
                product, value, factors[f"{target}_b_kernel"], precision=jax.lax.Precision.HIGHEST
            )
            whole = found[kernel]
            found[kernel] = whole + update if part is None else whole.at[:, :, part].add(update)
    return found
