"""The model's only form of attention: every query attends to one contiguous range of keys of its row.

`attend` chooses among backends that agree in values and gradients:

| backend | platform | spans | memory | needs |
|---|---|---|---|---|
| `xla` | any | any | L^2 per head | nothing; the reference |
| `chunked` | any | any | L | nothing |
| `cudnn` | NVIDIA GPU | any | L for whole rows, else L^2 once | bfloat16, no soft cap |
| `tokamax` | NVIDIA GPU; any by XLA | any | L on Hopper and later | the package tokamax |
| `splash` | TPU | any | L | nothing |

The first two run in every test. The modules of the rest say on which devices they were tested.

On a mesh whose axis `context` splits the tokens of a row, each device has its own queries and gathers the keys and
values of the whole row. The result is exact for any spans, and `L^2` above becomes `L^2 / context`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmvideo.model.attention.chunked import chunked_attention
from mmvideo.model.attention.cudnn import cudnn_attention, cudnn_unsupported_reason
from mmvideo.model.attention.scores import MASKED_SCORE, apply_soft_cap, span_mask
from mmvideo.model.attention.splash import splash_attention, splash_unsupported_reason
from mmvideo.model.attention.tokamax import tokamax_attention, tokamax_unsupported_reason
from mmvideo.model.attention.tokamax_shapes import tokamax_shapes
from mmvideo.model.layers.remat import named
from mmvideo.model.sharding import on_own_queries, token_parts

AUTOMATIC: dict[str, tuple[tuple[int | None, str], ...]] = {
    "cpu": ((256, "xla"), (None, "chunked")),
    "gpu": ((256, "xla"), (None, "cudnn"), (None, "tokamax"), (4096, "cudnn"), (1024, "xla"), (None, "chunked")),
    "tpu": ((256, "xla"), (None, "splash"), (1024, "xla"), (None, "chunked")),
    "default": ((1024, "xla"), (None, "chunked")),
}
"""Backends for each platform in order of preference, each with the longest row that it is chosen for.

A backend that does not support a call is skipped. For rows that are not whole, `cudnn` is chosen only by an entry with
a longest row: its bias takes `B L^2` elements, once for all layers. That is less than the scores of `xla`, but too much
for long rows.

Measured on a CPU: the chunked backend is as fast at 256 tokens, a quarter faster (gradient included) at 512 and almost
twice as fast at 2048. Measured on an H100: a step with tokamax was 2.9 times as fast as with chunks at 2128 tokens,
where the reference ran out of memory (`experiments/benchmarks/`), and all kernels of a GPU gave the reference's values
and gradients. The rest of the order on GPU, and that on TPU, is not measured: fused kernels come first.
"""


SHAPES = "tokamax_shapes"
"""The backend of programs that are compiled for a GPU that is not there; no config may name it."""

_FOR_GPU: ContextVar[bool] = ContextVar("for_gpu", default=False)


@contextmanager
def traced_for_gpu() -> Iterator[None]:
    """A context in which programs are traced as on a GPU, with calls without a body for its attention kernels.

    Such programs can be compiled, and end with an error where they are run.
    """
    token = _FOR_GPU.set(True)
    try:
        yield
    finally:
        _FOR_GPU.reset(token)


def traced_platform() -> str:
    """The platform that a program is traced for: `cpu`, `gpu` or `tpu`."""
    return "gpu" if _FOR_GPU.get() else jax.default_backend()


@dataclasses.dataclass(frozen=True)
class Call:
    """The static properties of a call of `attend`.

    Attributes:
      platform: `cpu`, `gpu` or `tpu`.
      length, head: `L` and `H`.
      dtype: dtype of the queries.
      chunk, soft_cap, whole: as given to `attend`.
    """

    platform: str
    length: int
    head: int
    dtype: Any = jnp.float32
    chunk: int = 512
    soft_cap: float | None = None
    whole: bool = False


@jax.named_scope("attention")
def attend(
    q: Float[Array, "B L N H"],
    k: Float[Array, "B L N H"],
    v: Float[Array, "B L N H"],
    spans: Int[Array, "B L 2"],
    *,
    backend: str = "auto",
    chunk: int = 512,
    soft_cap: float | None = None,
    whole: bool = False,
) -> Float[Array, "B L N H"]:
    """Return scaled dot-product attention in which each query attends to the keys `[start, end)` of its span.

    Args:
      q, k, v: queries, keys and values; scores are divided by `sqrt(H)`.
      spans: `[start, end)` for each query, at least one key each.
      backend: a name of `BACKENDS`, or `auto` (see `AUTOMATIC`).
      chunk: keys per block of the chunked backend.
      soft_cap: bound of the scores, which are squashed into `(-soft_cap, soft_cap)` before the softmax (Gemma 2).
      whole: a promise that saves memory where a backend can use it: each row is one clip that attends to all of itself,
        so the first `n` tokens attend to `[0, n)` and each later token only to itself.

    Returns:
      The mixed values in the dtype of `v`; softmax is in float32.

    Raises:
      ValueError: an unknown backend, or one that does not support this call.
    """
    # If rows are split by tokens, a device has only some of the queries: there is no longer a query for each key, as
    # `whole` promises.
    parts = token_parts(q)
    call = Call(traced_platform(), q.shape[1], q.shape[3], q.dtype, chunk, soft_cap, whole and parts == 1)
    if _FOR_GPU.get() and backend in ("auto", "cudnn", "tokamax") and _has_shapes(call):
        backend = SHAPES
    if backend == "auto":
        backend = choose(call)
    if backend not in BACKENDS:
        raise ValueError(f"model.attention {backend!r} is not a backend: choose auto or one of {', '.join(BACKENDS)}")
    obstacle = unsupported_reason(backend, call)
    if obstacle is not None:
        raise ValueError(f"model.attention {backend!r} can't be used here: {obstacle}; auto chooses one that can")
    attention = partial(BACKENDS[backend], call=call)
    # XLA splits its own products by rows and heads, but would not keep each device to its own queries.
    if backend in KERNELS or parts > 1:
        return on_own_queries(attention, q, k, v, spans)
    return attention(q, k, v, spans)


def choose(call: Call) -> str:
    """Return the backend that `auto` uses for a call."""
    # Example: packed rows of 2000 tokens on an NVIDIA GPU are too long for the first `xla` and not whole, as the first
    # `cudnn` requires: `tokamax` if it is installed, else the second `cudnn`, with its bias, for up to 4096 tokens.
    for longest, backend in AUTOMATIC.get(call.platform, AUTOMATIC["default"]):
        short = call.length <= longest if longest is not None else call.whole or backend != "cudnn"
        if short and unsupported_reason(backend, call) is None:
            return backend
    raise ValueError(f"no attention backend for rows of {call.length} tokens on {call.platform}")


def unsupported_reason(backend: str, call: Call) -> str | None:
    """Return the reason why a backend can't compute a call, or None if it can."""
    if backend == "cudnn":
        return cudnn_unsupported_reason(call.platform, call.dtype, call.head, call.soft_cap)
    if backend == "splash":
        return splash_unsupported_reason(call.platform, call.length)
    return tokamax_unsupported_reason() if backend == "tokamax" else None


def attention_weights(
    q: Float[Array, "B Q N H"],
    k: Float[Array, "B L N H"],
    spans: Int[Array, "B Q 2"],
    soft_cap: float | None = None,
) -> Float[Array, "B N Q L"]:
    """Return the weight of each key (last axis) for each query (third axis): softmax of the scores, float32.

    It is `softmax(q k^T / sqrt(H))` within the span (Vaswani et al. 2017, eq. 1), with scores capped if `soft_cap` is
    given.
    """
    scores = jnp.einsum("bqnh,bknh->bnqk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    scores = apply_soft_cap(scores, soft_cap)
    return jax.nn.softmax(jnp.where(span_mask(spans, k.shape[1]), scores, MASKED_SCORE), axis=-1)


def _reference(q: Array, k: Array, v: Array, spans: Array, call: Call) -> Array:
    """Compute with plain XLA: the weights of all queries for all keys at once."""
    weights = attention_weights(q, k, spans, call.soft_cap).astype(v.dtype)
    return named(jnp.einsum("bnqk,bknh->bqnh", weights, v), "attended")


def _chunked(q: Array, k: Array, v: Array, spans: Array, call: Call) -> Array:
    return chunked_attention(q, k, v, spans, call.chunk, call.soft_cap)


def _cudnn(q: Array, k: Array, v: Array, spans: Array, call: Call) -> Array:
    return cudnn_attention(q, k, v, spans, whole=call.whole)


def _tokamax(q: Array, k: Array, v: Array, spans: Array, call: Call) -> Array:
    return tokamax_attention(q, k, v, spans, soft_cap=call.soft_cap)


def _splash(q: Array, k: Array, v: Array, spans: Array, call: Call) -> Array:
    return splash_attention(q, k, v, spans, soft_cap=call.soft_cap)


def _shapes(q: Array, k: Array, v: Array, spans: Array, call: Call) -> Array:
    return tokamax_shapes(q, k, v, spans)


def _has_shapes(call: Call) -> bool:
    """Return whether a GPU would use a kernel: not for short rows, nor in float32."""
    return call.length > AUTOMATIC["gpu"][0][0] and call.dtype == jnp.bfloat16


BACKENDS: dict[str, Callable[[Array, Array, Array, Array, Call], Array]] = {
    "xla": _reference,
    "chunked": _chunked,
    "cudnn": _cudnn,
    "tokamax": _tokamax,
    "splash": _splash,
    SHAPES: _shapes,
}
"""Functions `(q, k, v, spans, call)` for some queries or all.

A new backend needs an entry here, one in `AUTOMATIC`, and a reason in `unsupported_reason`.
"""

KERNELS = ("cudnn", "tokamax", "splash", SHAPES)
"""Backends that are not products of XLA's own."""
