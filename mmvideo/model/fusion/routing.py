"""How the tokens of a stage lie, and what each of them sees."""

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
    """One row of all modalities, woven of several rows that stand one behind the other.

    Letters: `W` places of the woven row, `Z` places of all rows together.

    Attributes:
      rows: the woven row.
      spans: what each of its tokens sees.
      gather_index: the place among the rows' of each of its tokens.
      scatter_index: the place in it of each token of the rows.
    """

    rows: PackedRows
    spans: Int[Array, "B W 2"]
    gather_index: Int[Array, "B W"]
    scatter_index: Int[Array, "B Z"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BottleneckCopies:
    """The copies of bottleneck tokens in one row.

    Attributes:
      gather_index: the place in the row of each copy, `PADDING` for that of a modality which is elsewhere or
        which the clip lacks; copies in the order clip, modality, token.
      scatter_index: which copy each token of the row is, or `PADDING`.
    """

    gather_index: Int[Array, "B c"]
    scatter_index: Int[Array, "B S"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenRouting:
    """The way of a stage's tokens through its layers.

    Attributes:
      rows: one row of all modalities, or one for each.
      spans: what each token of each row sees there.
      rotations: how its queries and keys turn, for each row.
      woven: where queries, keys and values of several rows meet; None where each row keeps to itself.
      copies: of the bottleneck tokens, for each row; none where there is no bottleneck.
      shape: of the copies: clips, modalities, tokens.
      cross: whether keys and values are made by the weights of the query's modality.
      whole: for each row, or for the woven one, what `attend` asks of `whole`.
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
        """The route of one of the rows, where each keeps to itself."""
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
    """The route of a stage.

    Args:
      source: its tokens; the copies of bottleneck tokens come last.
      stage: who sees whom.
      separate: whether each modality has a row of its own.
      cross: as of the `TokenRouting`.
      rotate: the rotation of the tokens of a layout.
      weave: whether to weave rows also where each could keep to itself.
    """
    order = tuple(name for name in stage.order if name in source.modalities)
    rows = tuple(source.rows(part) for part in ([(name,) for name in order] if separate else [order]))
    spans = tuple(_spans(row, stage) for row in rows)
    woven = _interleave(source, rows, stage, order) if weave or (separate and stage.mixes(order)) else None
    copies, shape = (), (0, 0, 0)
    if stage.bottlenecks:
        last = source.extras[-1]
        shape = (source.clips, len(last.modalities), last.count)
        copies = tuple(_copies(row, last.size(source.clips)) for row in rows)
    attending = rows if woven is None else (woven.rows,)
    whole = tuple(source.clips == 1 and _sees_all(row.modalities, stage) for row in attending)
    rotations = tuple(rotate(row.layout) for row in rows)
    return TokenRouting(rows, spans, rotations, woven, copies, shape, cross, whole)


def _spans(rows: PackedRows, stage: Stage) -> Int[Array, "B S 2"]:
    return attention_spans(rows.layout, stage.groups, stage.causal, stage.order)


def _sees_all(modalities: tuple[str, ...], stage: Stage) -> bool:
    """Whether a clip sees all of itself in rows of these modalities; text alone keeps several captions apart."""
    group = next(group for group in stage.groups if modalities[0] in group)
    return set(modalities) <= set(group) and not set(modalities) & set(stage.causal) and group != ("text",)


def _interleave(source: TokenPool, rows: tuple[PackedRows, ...], stage: Stage, order: tuple[str, ...]) -> Interleaved:
    joint = source.rows(order)
    length = source.layout.modality.shape[1]
    places = jnp.arange(length, dtype=jnp.int32)
    first, back, home = 0, [], jnp.full(source.layout.modality.shape, PADDING, jnp.int32)
    for row in rows:
        size = row.layout.modality.shape[1]
        there = jnp.broadcast_to(places, home.shape) if row.gather_index is None else row.gather_index
        own = jnp.broadcast_to(places, home.shape) if row.scatter_index is None else row.scatter_index
        back.append(there if joint.scatter_index is None else take_or_padding(joint.scatter_index, there))
        home = jnp.where(own != PADDING, first + own, home)
        first += size
    there = home if joint.gather_index is None else take_or_padding(home, joint.gather_index)
    return Interleaved(joint, _spans(joint, stage), there, jnp.concatenate(back, axis=1))


def take_or_padding(table: Int[Array, "B T"], places: Int[Array, "B S"]) -> Int[Array, "B S"]:
    """The entry of each place; `PADDING` stays."""
    return jnp.where(places != PADDING, jnp.take_along_axis(table, jnp.maximum(places, 0), axis=1), PADDING)


def _copies(rows: PackedRows, count: int) -> BottleneckCopies:
    """The last `count` tokens of the source in a row."""
    first = rows.scatter_index.shape[1] - count
    return BottleneckCopies(
        rows.scatter_index[:, first:], jnp.where(rows.gather_index >= first, rows.gather_index - first, PADDING)
    )
