"""The run of stacked layers over the rows of a stage.

The shared weights decide the rows, so that nothing is computed twice and then masked:

| shared | rows | dense products |
|---|---|---|
| everything | one of all modalities | one per weight |
| all but norms | one of all modalities; scale and bias are selected by a token's modality | one per weight |
| all but feed-forward, nothing | one per modality, compact within its own budget | one per weight and modality |

Rows of one modality each have contiguous spans already. If modalities attend to each other, only queries, keys and
values are interleaved into one row, clip by clip, and the output of attention is split again. Both ways are gathers,
and so are their gradients (`gather.permute_tokens`). In a stage in which modalities neither share weights nor attend to
each other, each has a stack of its own, which may differ in depth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmvideo.model.attention.dispatch import attend, attention_weights, traced_platform
from mmvideo.model.config import Block, Model, unrolled_layers
from mmvideo.model.fusion.gather import PackedRows, permute_tokens
from mmvideo.model.fusion.routing import TokenRouting
from mmvideo.model.layers.remat import Remat
from mmvideo.model.positions.schemes import Rotation
from mmvideo.model.sharding import by_tokens
from mmvideo.model.transformer.block import (
    KV,
    QKV,
    LayerParams,
    Q,
    feed_forward,
    layer_params_for,
    output_projection,
    pre_norm,
    qkv_projection,
    residual_add,
)
from mmvideo.stream import MODALITIES, PADDING

Tokens = tuple[Array, ...]
"""The tokens of a stage, `[B, S, D]` for each of its rows."""


def _none(count: int) -> int:
    return 0


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """The architecture of the layers and the way to compute them; the latter changes no result beyond rounding.

    Attributes:
      block: architecture of a layer.
      attention, chunk: as for `attend`.
      remat: rematerialization in the backward pass.
      unrolled: function from a number of consecutive layers to how many of them, the last ones, are unrolled.
    """

    block: Block = Block()
    attention: str = "auto"
    chunk: int = 512
    remat: Remat | None = None
    unrolled: Callable[[int], int] = _none

    @classmethod
    def of(cls, model: Model) -> ComputeConfig:
        """Return the settings of a model's config."""
        unrolled = partial(unrolled_layers, model, traced_platform())
        return cls(model.block, model.attention, model.chunk, Remat.of(model), unrolled)


def run_layers(
    x: Float[Array, "B L D"],
    layers: LayerParams,
    spans: Int[Array, "B L 2"],
    rotation: Rotation | None,
    computing: ComputeConfig,
) -> Float[Array, "B L D"]:
    """Run stacked layers that share everything over one row, all with the same spans."""
    route = TokenRouting((PackedRows(None, None, None, MODALITIES),), (spans,), (rotation,))
    return run_routed_layers((x,), layers, route, computing)[0]


def run_routed_layers(
    xs: Tokens,
    layers: LayerParams,
    route: TokenRouting,
    computing: ComputeConfig,
    kept: Float[Array, "depth 2 B E"] | None = None,
) -> Tokens:
    """Run stacked layers in sequence over the rows of a stage.

    Args:
      xs: the tokens of each row.
      layers: the stacked weights.
      route: rows, spans and rotations of the stage.
      computing: the way to compute the layers.
      kept: for each layer the factors of every clip's attention and feed-forward; None: 1.
    """

    def body(xs: Tokens, layer: tuple[LayerParams, Array | None]) -> tuple[Tokens, None]:
        return tuple(by_tokens(x) for x in transformer_layer(xs, *layer, route, computing)), None

    count = jax.tree.leaves(layers)[0].shape[0]
    scanned = count - computing.unrolled(count)
    if scanned:
        stacks = (layers, kept)
        first = stacks if scanned == count else jax.tree.map(lambda value: value[:scanned], stacks)
        # Within a scan the loop itself keeps XLA from merging the computation with its repetition.
        xs = jax.lax.scan(_again(body, computing, prevent_cse=False), xs, first)[0]
    body = _again(body, computing, prevent_cse=True)
    for number in range(scanned, count):
        xs, _ = body(xs, jax.tree.map(lambda value, number=number: value[number], (layers, kept)))
    return xs


def _again(body: Callable[..., Any], computing: ComputeConfig, prevent_cse: bool) -> Callable[..., Any]:
    """The body of a layer, computed again in the backward pass as far as it is asked for."""
    return body if computing.remat is None else jax.checkpoint(body, policy=computing.remat, prevent_cse=prevent_cse)


def transformer_layer(
    xs: Tokens, layer: LayerParams, kept: Float[Array, "2 B E"] | None, route: TokenRouting, computing: ComputeConfig
) -> Tokens:
    """Run one layer, in the dtype of `xs`."""
    block, weights = computing.block, [layer_params_for(layer, rows.modalities) for rows in route.rows]

    def add(branch: str, number: int, xs: Tokens, given: list[Array]) -> Tokens:
        factor = None if kept is None else kept[number]
        parts = zip(xs, given, weights, route.rows, strict=True)
        return tuple(residual_add(x, y, own, branch, rows, block, factor) for x, y, own, rows in parts)

    with jax.named_scope("attention"):
        mixed = zip(_mixed(xs, weights, route, computing), weights, strict=True)
        xs = add("attention", 0, xs, [output_projection(each, own, block) for each, own in mixed])
    with jax.named_scope("feed_forward"):
        inner = [
            feed_forward(pre_norm(x, own, "feed_forward", rows, block), own, block)
            for x, own, rows in zip(xs, weights, route.rows, strict=True)
        ]
        xs = add("feed_forward", 1, xs, inner)
    return _average_bottlenecks(xs, route) if route.copies else xs


def layer_weights(xs: Tokens, layer: LayerParams, route: TokenRouting, block: Block) -> Float[Array, "B N W W"]:
    """Return the attention weights of one layer for its input `xs`, in the interleaved row, float32, for plots."""
    woven, weights = route.woven, [layer_params_for(layer, rows.modalities) for rows in route.rows]
    (q,) = _interleave_tokens(route, xs, weights, block, Q)
    if not route.cross:
        k, _ = _interleave_tokens(route, xs, weights, block, KV)
        return attention_weights(q, k, woven.spans, block.soft_cap)
    total = jnp.float32(0)
    for rows, own in zip(route.rows, weights, strict=True):
        k, _ = _interleave_tokens(route, xs, [own] * len(weights), block, KV)
        mine = woven.rows.layout.modality == MODALITIES.index(rows.modalities[0])
        total += jnp.where(mine[:, None, :, None], attention_weights(q, k, woven.spans, block.soft_cap), 0)
    return total


def _mixed(xs: Tokens, weights: list[LayerParams], route: TokenRouting, computing: ComputeConfig) -> Tokens:
    """Return the mixed values `[B, S, N, H]` of every row's tokens."""
    block, whole = computing.block, route.whole

    def mix(number: int, qkv: tuple[Array, ...], spans: Array) -> Array:
        how = dict(backend=computing.attention, chunk=computing.chunk, soft_cap=block.soft_cap)
        return attend(*qkv, spans, whole=whole[number], **how)

    if route.woven is None:
        made = [_projected(route, number, xs[number], own, block, QKV) for number, own in enumerate(weights)]
        return tuple(mix(number, *each) for number, each in enumerate(zip(made, route.spans, strict=True)))
    spans = route.woven.spans
    if not route.cross:
        return _split_tokens(route, mix(0, _interleave_tokens(route, xs, weights, block, QKV), spans))
    # Cross attention runs once per modality over all queries, and keeps the output of that modality's own queries.
    q, mixed = _interleave_tokens(route, xs, weights, block, Q), []
    for number, own in enumerate(weights):
        # Keys and values of all tokens for the queries of this modality, computed by its own weights.
        answers = _interleave_tokens(route, xs, [own] * len(weights), block, KV)
        mixed.append(_split_tokens(route, mix(0, q + answers, spans))[number])
    return tuple(mixed)


def _projected(
    route: TokenRouting, number: int, x: Array, own: LayerParams, block: Block, wanted: slice
) -> tuple[Array, ...]:
    """Return queries, keys and values, or the `wanted` of them, of one row's tokens."""
    rows = route.rows[number]
    return qkv_projection(pre_norm(x, own, "attention", rows, block), own, route.rotations[number], block, wanted)


def _interleave_tokens(
    route: TokenRouting, xs: Tokens, weights: list[LayerParams], block: Block, wanted: slice
) -> tuple[Array, ...]:
    """Return queries, keys and values, or the `wanted` of them, each `[B, W, N, H]` in the interleaved row."""
    parts = enumerate(zip(xs, weights, strict=True))
    # Norm, projection and rotation are per row, with its own weights; only their outputs are interleaved.
    made = [_projected(route, number, x, own, block, wanted) for number, (x, own) in parts]
    woven = route.woven
    return tuple(
        permute_tokens(jnp.concatenate(parts, axis=1), woven.gather_index, woven.scatter_index)
        for parts in zip(*made, strict=True)
    )


def _split_tokens(route: TokenRouting, x: Float[Array, "B W N H"]) -> Tokens:
    """Split the tokens of the interleaved row into the rows."""
    sizes = [rows.layout.modality.shape[1] for rows in route.rows]
    return tuple(
        jnp.split(permute_tokens(x, route.woven.scatter_index, route.woven.gather_index), np.cumsum(sizes)[:-1], axis=1)
    )


def _average_bottlenecks(xs: Tokens, route: TokenRouting) -> Tokens:
    """Replace each copy of a bottleneck token by the mean over the clip's modalities (MBT, eq. 8 and 9)."""
    clips, modalities, count = route.shape
    shape = (len(xs[0]), clips, modalities, count)
    # Each copy is in one row, and `permute_tokens` gives zero in the rest: the sum collects them, [B, E * m * c, D].
    # Example: a clip with video and audio but no text has `there` = (1, 1, 0); its mean is over two copies.
    copies = sum(
        permute_tokens(x, each.gather_index, each.scatter_index) for x, each in zip(xs, route.copies, strict=True)
    )
    there = sum((each.gather_index != PADDING).astype(jnp.float32) for each in route.copies).reshape(*shape, 1)
    total = copies.astype(jnp.float32).reshape(*shape, -1).sum(axis=2, keepdims=True)
    mean = total / jnp.maximum(there.sum(axis=2, keepdims=True), 1)
    mean = jnp.broadcast_to(mean, (*shape, mean.shape[-1])).reshape(copies.shape).astype(copies.dtype)
    return tuple(
        jnp.where(
            (each.scatter_index != PADDING)[..., None], permute_tokens(mean, each.scatter_index, each.gather_index), x
        )
        for x, each in zip(xs, route.copies, strict=True)
    )
