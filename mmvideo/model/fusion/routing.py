"""How the tokens of a stage lie, and what each of them sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmvideo.model.fusion.gather import Rows, Source
from mmvideo.model.fusion.stages import Stage
from mmvideo.model.positions.schemes import Rotation
from mmvideo.stream import PADDING, Layout, group_spans


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Woven:
    """One row of all modalities, woven of several rows that stand one behind the other.

    Letters: `W` places of the woven row, `Z` places of all rows together.

    Attributes:
      rows: the woven row.
      spans: what each of its tokens sees.
      there: the place among the rows' of each of its tokens.
      back: the place in it of each token of the rows.
    """

    rows: Rows
    spans: Int[Array, "B W 2"]
    there: Int[Array, "B W"]
    back: Int[Array, "B Z"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Copies:
    """The copies of bottleneck tokens in one row.

    Attributes:
      there: the place in the row of each copy, `PADDING` for that of a modality which is elsewhere or
        which the clip lacks; copies in the order clip, modality, token.
      back: which copy each token of the row is, or `PADDING`.
    """

    there: Int[Array, "B c"]
    back: Int[Array, "B S"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Route:
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

    rows: tuple[Rows, ...]
    spans: tuple[Int[Array, "B _ 2"], ...]
    rotations: tuple[Rotation | None, ...]
    woven: Woven | None = None
    copies: tuple[Copies, ...] = ()
    shape: tuple[int, int, int] = dataclasses.field(default=(0, 0, 0), metadata={"static": True})
    cross: bool = dataclasses.field(default=False, metadata={"static": True})
    whole: tuple[bool, ...] = dataclasses.field(default=(False,), metadata={"static": True})

    def only(self, number: int) -> Route:
        """The route of one of the rows, where each keeps to itself."""
        return Route(
            (self.rows[number],), (self.spans[number],), (self.rotations[number],), whole=(self.whole[number],)
        )


def plan_route(
    source: Source,
    stage: Stage,
    separate: bool,
    cross: bool,
    rotate: Callable[[Layout], Rotation | None],
    weave: bool = False,
) -> Route:
    """The route of a stage.

    Args:
      source: its tokens; the copies of bottleneck tokens come last.
      stage: who sees whom.
      separate: whether each modality has a row of its own.
      cross: as of the `Route`.
      rotate: the rotation of the tokens of a layout.
      weave: whether to weave rows also where each could keep to itself.
    """
    order = tuple(name for name in stage.order if name in source.modalities)
    rows = tuple(source.rows(part) for part in ([(name,) for name in order] if separate else [order]))
    spans = tuple(_spans(row, stage) for row in rows)
    woven = _weave(source, rows, stage, order) if weave or (separate and stage.joins(order)) else None
    copies, shape = (), (0, 0, 0)
    if stage.bottlenecks:
        last = source.extras[-1]
        shape = (source.clips, len(last.modalities), last.count)
        copies = tuple(_copies(row, last.size(source.clips)) for row in rows)
    attending = rows if woven is None else (woven.rows,)
    whole = tuple(source.clips == 1 and _sees_all(row.modalities, stage) for row in attending)
    rotations = tuple(rotate(row.layout) for row in rows)
    return Route(rows, spans, rotations, woven, copies, shape, cross, whole)


def _spans(rows: Rows, stage: Stage) -> Int[Array, "B S 2"]:
    return group_spans(rows.layout, stage.groups, stage.causal, stage.order)


def _sees_all(modalities: tuple[str, ...], stage: Stage) -> bool:
    """Whether a clip sees all of itself in rows of these modalities; text alone keeps several captions apart."""
    group = next(group for group in stage.groups if modalities[0] in group)
    return set(modalities) <= set(group) and not set(modalities) & set(stage.causal) and group != ("text",)


def _weave(source: Source, rows: tuple[Rows, ...], stage: Stage, order: tuple[str, ...]) -> Woven:
    joint = source.rows(order)
    length = source.layout.modality.shape[1]
    places = jnp.arange(length, dtype=jnp.int32)
    first, back, home = 0, [], jnp.full(source.layout.modality.shape, PADDING, jnp.int32)
    for row in rows:
        size = row.layout.modality.shape[1]
        there = jnp.broadcast_to(places, home.shape) if row.there is None else row.there
        own = jnp.broadcast_to(places, home.shape) if row.back is None else row.back
        back.append(there if joint.back is None else looked_up(joint.back, there))
        home = jnp.where(own != PADDING, first + own, home)
        first += size
    there = home if joint.there is None else looked_up(home, joint.there)
    return Woven(joint, _spans(joint, stage), there, jnp.concatenate(back, axis=1))


def looked_up(table: Int[Array, "B T"], places: Int[Array, "B S"]) -> Int[Array, "B S"]:
    """The entry of each place; `PADDING` stays."""
    return jnp.where(places != PADDING, jnp.take_along_axis(table, jnp.maximum(places, 0), axis=1), PADDING)


def _copies(rows: Rows, count: int) -> Copies:
    """The last `count` tokens of the source in a row."""
    first = rows.back.shape[1] - count
    return Copies(rows.back[:, first:], jnp.where(rows.there >= first, rows.there - first, PADDING))
