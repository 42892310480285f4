"""Rows of a trunk: the stream's tokens with extra ones between them, in any order of modalities.

Class, register and bottleneck tokens stand behind the tokens of their modality and clip, so that every
rule of attention stays a span. The stream knows nothing of them: a stage lists its tokens as a
`TokenPool`, `[tokens of the stream's row | extra tokens]`, in which every token has a fixed place, and
`Source.rows` says where each of them stands in rows sorted by clip, modality and place. One row may hold
all modalities, or there may be one row for each, compact within that modality's own budget.

Going there and back is a permutation up to padding, so the gradient of one is the other: gathers
both ways, never a scatter.

Letters: `T` places of a source, `S` places of an arranged row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.sharding import by_rows, by_tokens, divisible, token_parts, whole_rows
from mmvideo.stream import MODALITIES, PADDING, Modality, TokenLayout


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Extra tokens: `count` for each clip and each of the modalities, `[E, modalities, count]` in a source."""

    modalities: tuple[str, ...]
    count: int

    def size(self, clips: int) -> int:
        """Places of a source that they take."""
        return clips * len(self.modalities) * self.count


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedRows:
    """Rows in which some modalities stand.

    Attributes:
      layout: what stands where; None if nothing asks for it.
      gather_index: the place in the source of each token of the row; None if the row is the source.
      scatter_index: the place in the row of each token of the source, `PADDING` if it stands elsewhere or is none.
      modalities: those of the row, in their order within a clip.
    """

    layout: TokenLayout | None
    gather_index: Int[Array, "B S"] | None
    scatter_index: Int[Array, "B T"] | None
    modalities: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    def gather(self, source: Float[Array, "B T *rest"]) -> Float[Array, "B S *rest"]:
        """The tokens of the row; zero in padding."""
        return source if self.gather_index is None else permute_tokens(source, self.gather_index, self.scatter_index)

    def scatter(self, tokens: Float[Array, "B S *rest"]) -> Float[Array, "B T *rest"]:
        """The tokens in their places of the source; zero where the source has others."""
        return tokens if self.gather_index is None else permute_tokens(tokens, self.scatter_index, self.gather_index)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenPool:
    """What a stage works on: the tokens of the stream's row, then extra ones.

    Attributes:
      layout: what stands in each place, `[B, T]`.
      tokens: places of the stream's row, `L`.
      clips: clip slots of a row, `E`.
      budgets: the most tokens that a row has of each modality of the stream.
      extras: the extra tokens, in their order in the source.
    """

    layout: TokenLayout
    tokens: int = dataclasses.field(metadata={"static": True})
    clips: int = dataclasses.field(metadata={"static": True})
    budgets: tuple[tuple[str, int], ...] = dataclasses.field(metadata={"static": True})
    extras: tuple[SpecialTokens, ...] = dataclasses.field(default=(), metadata={"static": True})

    @classmethod
    def of(cls, layout: TokenLayout, clips: int, budgets: Mapping[str, int]) -> TokenPool:
        """The source of a row without extra tokens."""
        return cls(layout, layout.modality.shape[1], clips, tuple(budgets.items()))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that the stream has, in the order of `MODALITIES`."""
        return tuple(name for name in MODALITIES if name in dict(self.budgets))

    def with_extra(self, extra: SpecialTokens) -> TokenPool:
        """The source with more extra tokens behind it, for the modalities that a clip has tokens of.

        An extra token has no position: its time and cell are 0. Of several captions it belongs to the last.
        """
        row = jax.tree.map(lambda field: field[:, : self.tokens], self.layout)
        more = _extra_layout(row, extra, self.clips)
        layout = jax.tree.map(lambda *each: jnp.concatenate(each, axis=1), self.layout, more)
        return dataclasses.replace(self, layout=layout, extras=(*self.extras, extra))

    def rows(self, modalities: Sequence[str]) -> PackedRows:
        """Rows of the tokens of some modalities, sorted by clip, then modality in the given order, then place."""
        if tuple(modalities) == self.modalities and not self.extras:
            return PackedRows(self.layout, None, None, self.modalities)
        return sort_rows(self.layout, tuple(modalities), divisible(self._length(modalities)))

    def _length(self, modalities: Sequence[str]) -> int:
        """Places that such rows need, whatever their clips have: a clip has extra tokens only where it has others."""
        budgets = dict(self.budgets)
        most = {name: min(self.clips, budgets[name]) for name in modalities}
        content = min(self.tokens, sum(budgets[name] for name in modalities))
        return content + sum(
            extra.count * most[name] for extra in self.extras for name in extra.modalities if name in most
        )


def _extra_layout(row: TokenLayout, extra: SpecialTokens, clips: int) -> TokenLayout:
    """The layout of extra tokens, `[B, E * modalities * count]`."""
    kinds = np.array([MODALITIES.index(name) for name in extra.modalities], np.int32)
    own = _own(row, kinds, clips)
    shape = (*own.shape[:-1], extra.count)

    def flat(field: Array, *rest: int) -> Array:
        return jnp.broadcast_to(field, (*shape, *rest)).reshape(shape[0], extra.size(clips), *rest)

    real = own.any(axis=-1, keepdims=True)
    last = jnp.where(own, row.grid[:, None, None, :, 1], 0).max(axis=-1, initial=0, keepdims=True)
    caption = jnp.where(kinds[:, None] == Modality.TEXT, last, 0)
    return TokenLayout(
        source_index=flat(jnp.int32(0)),
        modality=flat(jnp.where(real, kinds[:, None], PADDING)),
        clip=flat(jnp.where(real, np.arange(clips, dtype=np.int32)[:, None, None], PADDING)),
        time=flat(jnp.zeros((), row.time.dtype)),
        grid=flat(jnp.stack([jnp.zeros_like(caption), caption, jnp.zeros_like(caption)], axis=-1), 3),
    )


def _own(row: TokenLayout, kinds: np.ndarray, clips: int) -> Bool[Array, "B E m L"]:
    """Which tokens are of a clip and of a modality."""
    of_clip = row.clip[:, None] == np.arange(clips)[:, None]
    return of_clip[:, :, None] & (row.modality[:, None] == kinds[:, None])[:, None]


def sort_rows(source: TokenLayout, modalities: tuple[str, ...], length: int) -> PackedRows:
    """Rows of the tokens of some modalities of a source, sorted by clip, then modality in the given order, then place.

    Args:
      source: what there is.
      modalities: those that are taken.
      length: places of a row; those beyond the source's stay empty.
    """
    order = np.full(len(MODALITIES) + 1, PADDING, np.int32)
    for number, name in enumerate(modalities):
        order[MODALITIES.index(name)] = number
    rank = jnp.asarray(order)[source.modality]
    member = rank != PADDING
    key = jnp.where(member, source.clip * len(modalities) + rank, np.iinfo(np.int32).max)
    there = jnp.argsort(key, axis=1, stable=True)
    back = jnp.where(member, jnp.argsort(there, axis=1), PADDING).astype(jnp.int32)
    there = jnp.where(jnp.take_along_axis(member, there, axis=1), there, PADDING)[:, :length].astype(jnp.int32)
    there = jnp.pad(there, ((0, 0), (0, length - there.shape[1])), constant_values=PADDING)

    def taken(field: Array, empty: int) -> Array:
        ones = [1] * (field.ndim - 2)
        places = there.reshape(*there.shape, *ones)
        return jnp.where(places != PADDING, jnp.take_along_axis(field, jnp.maximum(places, 0), axis=1), empty)

    layout = TokenLayout(
        source_index=jnp.maximum(there, 0),
        modality=taken(source.modality, PADDING),
        clip=taken(source.clip, PADDING),
        time=taken(source.time, 0),
        grid=taken(source.grid, 0),
    )
    # Every device knows the layout of its rows whole: what is reckoned with it needs no word from the others.
    return jax.tree.map(by_rows, PackedRows(layout, there, back, modalities))


@jax.custom_vjp
def permute_tokens(
    x: Float[Array, "B S *rest"], there: Int[Array, "B T"], back: Int[Array, "B S"]
) -> Float[Array, "B T *rest"]:
    """Tokens taken to other places: `out[t] = x[there[t]]`, zero where `there` is `PADDING`.

    Args:
      x: tokens.
      there: the place in `x` of each token of the answer; none twice.
      back: the place in the answer of each token of `x`, `PADDING` if it is not taken.
    """
    return _taken(x, there)


def _taken(x: Array, places: Array) -> Array:
    ones = [1] * (x.ndim - 2)
    # Few tokens, as the copies of a bottleneck, are fetched from the devices that hold them, rather than all rows.
    few = places.shape[1] * token_parts(x) < x.shape[1]
    source, lie = (x, whole_rows) if few else (whole_rows(x), by_tokens)
    picked = jnp.take_along_axis(source, jnp.maximum(places, 0).reshape(*places.shape, *ones), axis=1)
    return lie(jnp.where((places != PADDING).reshape(*places.shape, *ones), picked, 0))


def _move_forward(x: Array, there: Array, back: Array) -> tuple[Array, tuple[Array, Array]]:
    return _taken(x, there), (there, back)


def _move_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, np.ndarray, np.ndarray]:
    there, back = kept
    none = [np.zeros(places.shape, jax.dtypes.float0) for places in kept]
    return _taken(gradient, back), *none


permute_tokens.defvjp(_move_forward, _move_backward)
