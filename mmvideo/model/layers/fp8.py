"""Products of activations with weights in floats of 8 bits, by qwix; what it takes and gives keeps its dtype.

Factors are e4m3 (Micikevicius et al. 2022, section 3: 4 bits of exponent, 3 of mantissa), and so are gradients in the
two products of the backward pass: their scales leave e4m3 range enough, and e5m2, which that paper gives to gradients,
rounds them twice as coarsely. A factor is scaled so that the largest number of each of its rows is e4m3's largest: of
each token for activations, of each output for weights. So no token is rounded by what stands beside it, and a clip
gives the same in any row. What is kept for the backward pass are the rounded factors. Weights themselves stay float32:
they are rounded anew for each product.

qwix finds the products of a Flax module by putting itself in the place of `jnp.einsum`, and weights by the modules that
hold them. Layers here are functions of stacked weights that a scan hands out, attention has products of the same kind,
and neither would be told apart: so this file reaches for qwix's product itself, the only one that does.

Run so far on a CPU, which computes in wider floats what it stores in 8 bits: values, gradients and training, not speed.
GPUs before Ada and Hopper have no such products.
"""

from __future__ import annotations

import importlib.util

import jax.numpy as jnp
from jaxtyping import Array, Float


def product(subscripts: str, x: Float[Array, "..."], kernel: Float[Array, "..."]) -> Float[Array, "..."]:
    """Activations times a weight, as `jnp.einsum` has it.

    Args:
      subscripts: letters of both and of the result, which has those of `x` that stay, then those of the kernel.
      x: activations, in bfloat16 or float32.
      kernel: in the dtype of `x`.
    """
    from qwix._src.core.dot_general_qt import DotGeneralQtConfig, dot_general_qt

    left, right = subscripts.partition("->")[0].split(",")
    summed = [letter for letter in left if letter in right]
    axes = [left.index(letter) for letter in summed], [right.index(letter) for letter in summed]
    small = jnp.float8_e4m3fn
    how = DotGeneralQtConfig(lhs_qtype=small, rhs_qtype=small, dlhs_grad_qtype=small, drhs_grad_qtype=small)
    return dot_general_qt(x, kernel, (axes, ((), ())), how)


def check_qwix() -> None:
    """Raises ValueError where qwix isn't installed."""
    if importlib.util.find_spec("qwix") is None:
        raise ValueError("model.block.quantized fp8 needs the package qwix: pip install 'mmvideo[fp8]'")
