"""Attention by the kernels of tokamax, whose masks are this project's spans: a first and a last key per query.

On a Hopper GPU its Mosaic kernel of the forward pass skips the blocks of keys outside the spans. The kernels of its
gradient go through all blocks (tokamax 0.0.17, `pallas_mosaic_gpu_vjp_kernel_sm90.py`: the loop over blocks asks for no
range), so narrow spans make the gradient no faster. Memory is linear in the length in both passes. On an older GPU its
Triton kernel skips blocks in the forward pass, but the gradient builds a boolean mask of `B L^2` elements. Elsewhere
tokamax computes with plain XLA.

Keys and values are padded here to a multiple of the kernel's block, and XLA pads them while it writes them. tokamax
would copy both, and the gradient would have as many blocks anyway.

tokamax's public function has no such mask, so this module calls its operators directly; no other module does.

Run so far, in values and gradients: its Mosaic kernels on an H100 (tokamax 0.0.17), and its XLA operator on a CPU
(0.0.12, the last release for Python 3.11, and 0.0.17); `tests/model/attention/test_backends.py` compares them with the
reference. Padded keys and tuned blocks came later and were run on a CPU only, with XLA's operator, which has no blocks.
`bash tools/bench/device.sh` runs both on a device.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmvideo.model.attention.tokamax_blocks import Blocks, nearest_blocks

BLOCK = 128
"""A multiple of the keys of a block of tokamax's kernels, whatever they are tuned to."""

OPERATORS = ("mosaic_gpu", "triton", "xla")
"""Operators in order of preference: the first that the device and the inputs allow is used."""


def tokamax_attention(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
    *,
    soft_cap: float | None = None,
    operators: tuple[str, ...] = OPERATORS,
    blocks: Blocks | None | Literal["nearest"] = "nearest",
) -> Float[Array, "B Q N H"]:
    """Return attention in which each query attends to its span.

    Args:
      q, k, v: queries, keys, values; scores are divided by `sqrt(H)`. The Mosaic kernels take bfloat16 and float16
        only.
      spans: `[start, end)` for each query, at least one key each.
      soft_cap: see `mmvideo.model.attention.scores.apply_soft_cap`.
      operators: names of tokamax's operators, the preferred one first.
      blocks: of the kernels on a Hopper GPU: those measured for the nearest length, others, or None for tokamax's own.

    Raises:
      NotImplementedError: none of the operators supports the call.
    """
    from absl import flags
    from tokamax._src.ops.attention import api, base

    if not flags.FLAGS.is_parsed():
        # Otherwise older releases of tokamax would parse this program's command line for their own flags.
        flags.FLAGS.mark_as_parsed()
    k, v = (filled(x, BLOCK) for x in (k, v))
    mask = base.Mask(k_start=spans[:, None, :, 0], k_end=spans[:, None, :, 1])
    reasons = []
    for name in operators:
        # The gradient of the Triton kernel supports no cap.
        if name not in api.IMPLEMENTATIONS or (name == "triton" and soft_cap is not None):
            continue
        operator = api.IMPLEMENTATIONS[name]
        if name == "mosaic_gpu" and _is_hopper():
            operator = tuned(operator, nearest_blocks(q.shape[3], k.shape[1]) if blocks == "nearest" else blocks)
        try:
            return operator(q, k, v, mask=mask, logits_soft_cap=soft_cap)
        except NotImplementedError as error:
            reasons.append(f"{name}: {error}")
    raise NotImplementedError(f"no operator of tokamax supports this call: {'; '.join(reasons)}")


def tuned(operator: Any, blocks: Blocks | None) -> Any:
    """tokamax's Mosaic operator with blocks that were measured, in the place of its rule of thumb; None leaves that.

    Args:
      operator: of the kind `PallasMosaicGpuFlashAttention`.
      blocks: for a Hopper GPU.
    """
    if blocks is None:
        return operator
    from tokamax._src.ops.attention import pallas_mosaic_gpu, pallas_mosaic_gpu_vjp

    size, keys = blocks.backward["block_q"], blocks.backward["block_kv"]
    backward = pallas_mosaic_gpu_vjp.Config(
        block_q_dkv=size,
        block_kv_dkv=keys,
        block_q_dq=size,
        block_kv_dq=keys,
        num_stages=blocks.backward["num_stages"],
        compute_wgs=blocks.backward["compute_wgs"],
    )
    gradient = pallas_mosaic_gpu_vjp.PallasMosaicGpuFlashAttentionVjp(config=backward)
    return operator.replace(config=pallas_mosaic_gpu.ConfigSM90(**blocks.forward), vjp=gradient)


def _is_hopper() -> bool:
    """Return whether the kernels will run on a GPU of compute capability 9.0."""
    device = jax.devices()[0]
    return device.platform == "gpu" and str(getattr(device, "compute_capability", "")) == "9.0"


def filled(x: Float[Array, "B L N H"], multiple: int) -> Float[Array, "B M N H"]:
    """`x` with zeros behind its tokens, up to a multiple of a number of them; no span reaches them."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % multiple), (0, 0), (0, 0)))


def tokamax_unsupported_reason() -> str | None:
    """Return the reason why tokamax can't compute a call, or None if it can."""
    if importlib.util.find_spec("tokamax") is None:
        return 'it needs the package tokamax: pip install "mmvideo[tokamax]" (Python 3.12 or newer)'
    return None
