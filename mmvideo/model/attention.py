"""The only attention that the model knows: every query sees one range of keys of its row.

`attend` chooses among backends that agree in values and gradients. A new one is a function of
`(q, k, v, spans, chunk, soft_cap)` in `BACKENDS` and a line in `AUTOMATIC`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.chunked import capped, chunked_attention

HIDDEN = -1e30
"""Score of a key outside the span: finite, so that no row of scores is all minus infinity."""


def attend(
    q: Float[Array, "B L N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B L 2"],
    *,
    backend: str = "auto",
    chunk: int = 512,
    soft_cap: float | None = None,
) -> Float[Array, "B L N H"]:
    """Scaled dot-product attention in which each query sees the keys `[start, end)` of its span.

    Args:
      q, k, v: queries, keys and values; scores are divided by `sqrt(H)`.
      spans: `[start, end)` for each query, at least one key each.
      backend: a name of `BACKENDS`, or `auto` (see `choose`).
      chunk: keys a block of the chunked backend.
      soft_cap: scores are squashed into `(-soft_cap, soft_cap)` before the softmax (see `capped`).

    Returns:
      The mixed values in the dtype of `v`; softmax is in float32.

    Raises:
      ValueError: an unknown backend.
    """
    if backend == "auto":
        backend = choose(jax.default_backend(), q.shape[1])
    if backend not in BACKENDS:
        raise ValueError(f"model.attention {backend!r} is not a backend: choose auto or one of {', '.join(BACKENDS)}")
    return BACKENDS[backend](q, k, v, spans, chunk, soft_cap)


def choose(platform: str, length: int) -> str:
    """The backend that `auto` takes on a platform (`cpu`, `gpu`, `tpu`) for rows of `length` tokens."""
    for longest, backend in AUTOMATIC.get(platform, AUTOMATIC["default"]):
        if longest is None or length <= longest:
            return backend
    raise ValueError(f"no attention backend for rows of {length} tokens on {platform}")


def visible(spans: Int[Array, "B Q 2"], keys: int) -> Bool[Array, "B 1 Q K"]:
    """The mask of a span: True where a query sees a key, the same for all heads."""
    place = jnp.arange(keys, dtype=spans.dtype)
    return ((place >= spans[..., :1]) & (place < spans[..., 1:]))[:, None]


def attention_weights(
    q: Float[Array, "B L N H"],
    k: Float[Array, "B L N H"],
    spans: Int[Array, "B L 2"],
    soft_cap: float | None = None,
) -> Float[Array, "B N L L"]:
    """What each query (third axis) takes of each key (last axis): softmax of the scores, float32.

    `softmax(q k^T / sqrt(H))` within the span (Vaswani et al. 2017, eq. 1), the scores capped if
    `soft_cap` is given.
    """
    scores = jnp.einsum("bqnh,bknh->bnqk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    scores = capped(scores, soft_cap)
    return jax.nn.softmax(jnp.where(visible(spans, k.shape[1]), scores, HIDDEN), axis=-1)


def _reference(q: Array, k: Array, v: Array, spans: Array, chunk: int, soft_cap: float | None) -> Array:
    """Plain XLA: all L x L weights at once; `chunk` is of no use to it."""
    del chunk
    return jnp.einsum("bnqk,bknh->bqnh", attention_weights(q, k, spans, soft_cap).astype(v.dtype), v)


BACKENDS: dict[str, Callable[[Array, Array, Array, Array, int, float | None], Array]] = {
    "xla": _reference,
    "chunked": chunked_attention,
}

AUTOMATIC: dict[str, tuple[tuple[int | None, str], ...]] = {
    "cpu": ((256, "xla"), (None, "chunked")),
    "default": ((1024, "xla"), (None, "chunked")),
}
"""For each platform: the longest row for which a backend is taken, in order of length.

On a CPU the chunked one was measured to be as fast at 256 tokens, a quarter faster (gradient included)
at 512 and almost twice as fast at 2048. Elsewhere the bound is one of memory: the weights that the
reference keeps for the gradient take `B N L^2` numbers a layer.
"""
