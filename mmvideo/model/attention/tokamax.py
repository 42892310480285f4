"""Attention by the kernels of tokamax, whose masks are this project's spans: a first and a last key for each query.

On a Hopper or Blackwell GPU its Mosaic kernels skip the blocks of keys outside the spans, and memory is linear
in the length, forwards and backwards. On an older GPU its Triton kernel does so forwards; its gradient makes the
mask an array of `B L^2` truth values. Anywhere else tokamax computes with plain XLA.

tokamax's public function takes no such mask, so this file reaches for its operators; it is the only one that does.

Run so far: its Mosaic kernels on an H100 (tokamax 0.0.17), and its XLA operator on a CPU (0.0.12, the last release
for Python 3.11), in values and gradients; `tests/model/attention/test_backends.py` compares them with the reference.
"""

from __future__ import annotations

import importlib.util

from jaxtyping import Array, Float, Int

OPERATORS = ("mosaic_gpu", "triton", "xla")
"""In order of preference: the first that the device and the inputs allow is taken."""


def tokamax_attention(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
    *,
    soft_cap: float | None = None,
    operators: tuple[str, ...] = OPERATORS,
) -> Float[Array, "B Q N H"]:
    """Attention in which each query sees its span.

    Args:
      q, k, v: scores are divided by `sqrt(H)`; the Mosaic kernels take bfloat16 and float16 only.
      spans: `[start, end)` for each query, at least one key each.
      soft_cap: see `mmvideo.model.attention.scores.apply_soft_cap`.
      operators: names of tokamax's operators, the preferred one first.

    Raises:
      NotImplementedError: none of the operators can do it.
    """
    from absl import flags
    from tokamax._src.ops.attention import api, base

    if not flags.FLAGS.is_parsed():
        # Else older releases of tokamax read this program's command line for flags of their own.
        flags.FLAGS.mark_as_parsed()
    mask = base.Mask(k_start=spans[:, None, :, 0], k_end=spans[:, None, :, 1])
    reasons = []
    for name in operators:
        # The gradient of the Triton kernel knows no cap.
        if name not in api.IMPLEMENTATIONS or (name == "triton" and soft_cap is not None):
            continue
        try:
            return api.IMPLEMENTATIONS[name](q, k, v, mask=mask, logits_soft_cap=soft_cap)
        except NotImplementedError as error:
            reasons.append(f"{name}: {error}")
    raise NotImplementedError(f"no operator of tokamax can do it: {'; '.join(reasons)}")


def tokamax_unsupported_reason() -> str | None:
    """Why tokamax can't do it, or None if it can."""
    if importlib.util.find_spec("tokamax") is None:
        return 'it needs the package tokamax: pip install "mmvideo[tokamax]" (Python 3.12 or newer)'
    return None
