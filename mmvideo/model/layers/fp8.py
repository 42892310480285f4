"""Products of activations with weights in 8-bit floats, by qwix; inputs and outputs keep their dtype.

Factors are e4m3 (Micikevicius et al. 2022, section 3: 4 bits of exponent, 3 of mantissa), and so are gradients in the
two products of the backward pass. With scaling, the range of e4m3 suffices; e5m2, which that paper uses for gradients,
rounds twice as coarsely. Each row of a factor has its own scale, which maps its largest element to the largest e4m3
value: a row is a token of the activations or an output of the weights. The rounding of a token therefore does not
depend on its neighbours, and a clip has the same result in any row. The rounded factors are saved for the backward
pass. Weights stay float32 and are rounded for each product.

qwix finds the products of a Flax module by replacing `jnp.einsum`, and weights by the modules that hold them. Here
layers are functions of stacked weights from a scan, and attention has products of the same form, so qwix could not tell
them apart. This module therefore calls qwix's internal product directly; no other file does.

It has only been run on a CPU, which stores 8 bits and computes in wider floats: this checks values, gradients and
training, not speed. GPUs before Ada and Hopper have no such products.
"""

from __future__ import annotations

import importlib.util

import jax.numpy as jnp
from jaxtyping import Array, Float


def product(subscripts: str, x: Float[Array, "..."], kernel: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return activations times a weight, like `jnp.einsum`.

    Args:
      subscripts: letters of both and of the result, which has the remaining letters of `x`, then those of the kernel.
      x: activations, in bfloat16 or float32.
      kernel: weight in the dtype of `x`.
    """
    from qwix._src.core.dot_general_qt import DotGeneralQtConfig, dot_general_qt

    # Example: "bld,dcnh->blcnh" sums d: axes ([2], [0]). "blnh,nhd->bld" sums n and h: axes ([2, 3], [0, 1]).
    left, right = subscripts.partition("->")[0].split(",")
    summed = [letter for letter in left if letter in right]
    axes = [left.index(letter) for letter in summed], [right.index(letter) for letter in summed]
    small = jnp.float8_e4m3fn
    how = DotGeneralQtConfig(lhs_qtype=small, rhs_qtype=small, dlhs_grad_qtype=small, drhs_grad_qtype=small)
    return dot_general_qt(x, kernel, (axes, ((), ())), how)


def check_qwix() -> None:
    """Raise ValueError if qwix isn't installed."""
    if importlib.util.find_spec("qwix") is None:
        raise ValueError("model.block.quantized fp8 needs the package qwix: pip install 'mmvideo[fp8]'")
