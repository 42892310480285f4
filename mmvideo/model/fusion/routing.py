"""Routing of a stage's tokens: their rows, and the spans of keys that each token attends to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmvideo.model.fusion.fusion_stages import Stage
from mmvideo.model.fusion.gather import PackedRows, TokenPool
from mmvideo.model.positions.schemes import Rotation
from mmvideo.stream import PADDING, TokenLayout, attention_spans


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interleaved:
    """One row of all modalities, interleaved from several rows.

    Letters: `W` tokens of the interleaved row, `Z` tokens of all rows together.

    Attributes:
      rows: the interleaved row.
      spans: span of keys of each of its tokens.
      gather_index: index in the concatenation of the rows of each of its tokens.
      scatter_index: index in it of each token of the concatenated rows.
    """

    # Example: rows [v0 v1] and [t0 t0 t1] (the digit is the clip) are concatenated to [v0 v1 t0 t0 t1].
    # The interleaved row is [v0 t0 t0 v1 t1]: gather_index [0 2 3 1 4], scatter_index [0 3 1 2 4].
    rows: PackedRows
    spans: Int[Array, "B W 2"]
    gather_index: Int[Array, "B W"]
    scatter_index: Int[Array, "B Z"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BottleneckCopies:
    """The copies of bottleneck tokens in one row.

    Attributes:
      gather_index: index in the row of each copy, in the order clip, modality, token; `PADDING` for the copy of a
        modality that is in another row or that the clip lacks.
      scatter_index: index of the copy that each token of the row is, or `PADDING`.
    """

    gather_index: Int[Array, "B c"]
    scatter_index: Int[Array, "B S"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenRouting:
    """The routing of a stage's tokens through its layers.

    Attributes:
      rows: one row of all modalities, or one for each.
      spans: span of keys of each token of each row.
      rotations: rotation of queries and keys, for each row.
      woven: the row in which queries, keys and values of several rows meet; None where each row attends to itself.
      copies: copies of the bottleneck tokens, for each row; empty where there is no bottleneck.
      shape: shape of the copies: clips, modalities, tokens.
      cross: whether keys and values are computed by the weights of the query's modality.
      whole: argument `whole` of `attend`, for each row or for the interleaved one.
    """

    rows: tuple[PackedRows, ...]
    spans: tuple[Int[Array, "B _ 2"], ...]
    rotations: tuple[Rotation | None, ...]
    woven: Interleaved | None = None
    copies: tuple[BottleneckCopies, ...] = ()
    shape: tuple[int, int, int] = dataclasses.field(default=(0, 0, 0), metadata={"static": True})
    cross: bool = dataclasses.field(default=False, metadata={"static": True})
    whole: tuple[bool, ...] = dataclasses.field(default=(False,), metadata={"static": True})

    def only(self, number: int) -> TokenRouting:
        """Return the routing of one of the rows, where each attends to itself."""
        return TokenRouting(
            (self.rows[number],), (self.spans[number],), (self.rotations[number],), whole=(self.whole[number],)
        )


def plan_routing(
    source: TokenPool,
    stage: Stage,
    separate: bool,
    cross: bool,
    rotate: Callable[[TokenLayout], Rotation | None],
    weave: bool = False,
) -> TokenRouting:
    """Return the routing of a stage.

    Args:
      source: its tokens; the copies of bottleneck tokens come last.
      stage: the stage; its groups decide which modalities attend to each other.
      separate: whether each modality has a row of its own.
      cross: as of `TokenRouting`.
      rotate: function from the layout of tokens to their rotation.
      weave: whether to interleave rows even where each attends to itself.
    """
    order = tuple(name for name in stage.order if name in source.modalities)
    rows = tuple(source.rows(part) for part in ([(name,) for name in order] if separate else [order]))
    spans = tuple(_spans(row, stage) for row in rows)
    woven = _interleave(source, rows, stage, order) if weave or (separate and stage.mixes(order)) else None
    copies: tuple[BottleneckCopies, ...] = ()
    shape = (0, 0, 0)
    if stage.bottlenecks:
        last = source.extras[-1]
        shape = (source.clips, len(last.modalities), last.count)
        copies = tuple(_copies(row, last.size(source.clips)) for row in rows)
    # With one clip slot a row holds one clip and then padding, so its tokens attend to all tokens: no span mask is
    # needed.
    attending = rows if woven is None else (woven.rows,)
    whole = tuple(source.clips == 1 and _sees_all(row.modalities, stage) for row in attending)
    rotations = tuple(rotate(row.layout) for row in rows)
    return TokenRouting(rows, spans, rotations, woven, copies, shape, cross, whole)


def _spans(rows: PackedRows, stage: Stage) -> Int[Array, "B S 2"]:
    return attention_spans(rows.layout, stage.groups, stage.causal, stage.order)


def _sees_all(modalities: tuple[str, ...], stage: Stage) -> bool:
    """Return whether a clip attends to all of itself in rows of these modalities; text alone separates captions."""
    group = next(group for group in stage.groups if modalities[0] in group)
    return set(modalities) <= set(group) and not set(modalities) & set(stage.causal) and group != ("text",)


def _interleave(source: TokenPool, rows: tuple[PackedRows, ...], stage: Stage, order: tuple[str, ...]) -> Interleaved:
    joint = source.rows(order)
    # Both kinds of rows are sorted from the same pool, so the pool's indices connect them: concatenated row -> pool ->
    # interleaved row, and back. None stands for the identity in `gather_index` and `scatter_index`.
    length = source.layout.modality.shape[1]
    identity = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), source.layout.modality.shape)
    scatter_parts = []
    # Index in the concatenated rows of each token of the pool.
    concatenated = jnp.full(identity.shape, PADDING, jnp.int32)
    first = 0
    for row in rows:
        to_pool = identity if row.gather_index is None else row.gather_index
        from_pool = identity if row.scatter_index is None else row.scatter_index
        in_joint = to_pool if joint.scatter_index is None else take_or_padding(joint.scatter_index, to_pool)
        scatter_parts.append(in_joint)
        concatenated = jnp.where(from_pool != PADDING, first + from_pool, concatenated)
        first += row.layout.modality.shape[1]
    gather_index = concatenated if joint.gather_index is None else take_or_padding(concatenated, joint.gather_index)
    return Interleaved(joint, _spans(joint, stage), gather_index, jnp.concatenate(scatter_parts, axis=1))


def take_or_padding(table: Int[Array, "B T"], index: Int[Array, "B S"]) -> Int[Array, "B S"]:
    """Return the entry of the table at each index; `PADDING` stays.

    Example: the table [7, 8, 9] at the indices [2, -1, 0] gives [9, -1, 7].
    """
    return jnp.where(index != PADDING, jnp.take_along_axis(table, jnp.maximum(index, 0), axis=1), PADDING)


def _copies(rows: PackedRows, count: int) -> BottleneckCopies:
    """Return the last `count` tokens of the pool in a row: the copies of bottleneck tokens."""
    # Example: a pool of 10 tokens whose last 4 are copies: index 7 of the pool is copy 1.
    first = rows.scatter_index.shape[1] - count
    return BottleneckCopies(
        rows.scatter_index[:, first:], jnp.where(rows.gather_index >= first, rows.gather_index - first, PADDING)
    )
