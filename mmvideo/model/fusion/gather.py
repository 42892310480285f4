"""Rows of the backbone: the stream's tokens and extra tokens, sorted by clip and modality.

Class, register and bottleneck tokens follow the tokens of their modality and clip, so that every rule of attention
stays a span. The stream knows nothing of them. A stage lists its tokens as a `TokenPool`,
`[tokens of the stream's row | extra tokens]`, in which every token has a fixed index. `TokenPool.rows` sorts them by
clip, modality and index into rows: one row of all modalities, or one for each, compact within the modality's own
budget.

Gathering and scattering are inverse permutations, up to padding. The gradient of one is therefore the other: both are
gathers, never a scatter-add.

Letters: `T` tokens of a pool, `S` tokens of a sorted row.
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
    """Extra tokens: `count` for each clip and each of the modalities, `[E, modalities, count]` in a pool."""

    modalities: tuple[str, ...]
    count: int

    def size(self, clips: int) -> int:
        """Return the number of these tokens in a pool."""
        return clips * len(self.modalities) * self.count


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedRows:
    """Rows of the tokens of some modalities.

    Attributes:
      layout: layout of the rows; None if nothing reads it.
      gather_index: index in the pool of each token of the row; None if the row is the pool.
      scatter_index: index in the row of each token of the pool, `PADDING` for padding and tokens of other rows.
      modalities: modalities of the row, in their order within a clip.
    """

    layout: TokenLayout | None
    gather_index: Int[Array, "B S"] | None
    scatter_index: Int[Array, "B T"] | None
    modalities: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    def gather(self, source: Float[Array, "B T *rest"]) -> Float[Array, "B S *rest"]:
        """Return the tokens of the row; zero in padding."""
        return source if self.gather_index is None else permute_tokens(source, self.gather_index, self.scatter_index)

    def scatter(self, tokens: Float[Array, "B S *rest"]) -> Float[Array, "B T *rest"]:
        """Return the tokens at their indices in the pool; zero for the pool's other tokens."""
        return tokens if self.gather_index is None else permute_tokens(tokens, self.scatter_index, self.gather_index)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenPool:
    """The tokens of a stage: those of the stream's row, then extra tokens.

    Attributes:
      layout: layout of all tokens, `[B, T]`.
      tokens: tokens of the stream's row, `L`.
      clips: clip slots of a row, `E`.
      budgets: the most tokens that a row has of each modality of the stream.
      extras: the extra tokens, in their order in the pool.
    """

    layout: TokenLayout
    tokens: int = dataclasses.field(metadata={"static": True})
    clips: int = dataclasses.field(metadata={"static": True})
    budgets: tuple[tuple[str, int], ...] = dataclasses.field(metadata={"static": True})
    extras: tuple[SpecialTokens, ...] = dataclasses.field(default=(), metadata={"static": True})

    @classmethod
    def of(cls, layout: TokenLayout, clips: int, budgets: Mapping[str, int]) -> TokenPool:
        """Build the pool of a row without extra tokens."""
        return cls(layout, layout.modality.shape[1], clips, tuple(budgets.items()))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the stream, in the order of `MODALITIES`."""
        return tuple(name for name in MODALITIES if name in dict(self.budgets))

    def with_extra(self, extra: SpecialTokens) -> TokenPool:
        """Append extra tokens for the modalities that each clip has tokens of.

        An extra token has no position: its time and cell are 0. With several captions it belongs to the last one.
        """
        row = jax.tree.map(lambda field: field[:, : self.tokens], self.layout)
        more = _extra_layout(row, extra, self.clips)
        layout = jax.tree.map(lambda *each: jnp.concatenate(each, axis=1), self.layout, more)
        return dataclasses.replace(self, layout=layout, extras=(*self.extras, extra))

    def rows(self, modalities: Sequence[str]) -> PackedRows:
        """Return rows of the tokens of some modalities, sorted by clip, modality (in the given order) and index."""
        if tuple(modalities) == self.modalities and not self.extras:
            return PackedRows(self.layout, None, None, self.modalities)
        return sort_rows(self.layout, tuple(modalities), divisible(self._length(modalities)))

    def _length(self, modalities: Sequence[str]) -> int:
        """Return a bound on the tokens of such rows; a clip has extra tokens only of modalities that it has."""
        budgets = dict(self.budgets)
        # Example: with 4 clip slots and a budget of 2 audio tokens at most 2 clips have audio, and so audio class
        # tokens.
        most = {name: min(self.clips, budgets[name]) for name in modalities}
        content = min(self.tokens, sum(budgets[name] for name in modalities))
        return content + sum(
            extra.count * most[name] for extra in self.extras for name in extra.modalities if name in most
        )


def _extra_layout(row: TokenLayout, extra: SpecialTokens, clips: int) -> TokenLayout:
    """Return the layout of extra tokens, `[B, E * modalities * count]`."""
    kinds = np.array([MODALITIES.index(name) for name in extra.modalities], np.int32)
    own = _own(row, kinds, clips)
    shape = (*own.shape[:-1], extra.count)

    def flat(field: Array, *rest: int) -> Array:
        return jnp.broadcast_to(field, (*shape, *rest)).reshape(shape[0], extra.size(clips), *rest)

    real = own.any(axis=-1, keepdims=True)
    # Where text is a group of its own, spans keep captions apart. The extra tokens of text come after the last caption
    # and carry its index, else they would attend only to themselves.
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
    """Return the masks of the tokens of each clip and modality."""
    of_clip = row.clip[:, None] == np.arange(clips)[:, None]
    return of_clip[:, :, None] & (row.modality[:, None] == kinds[:, None])[:, None]


def sort_rows(source: TokenLayout, modalities: tuple[str, ...], length: int) -> PackedRows:
    """Return rows of the tokens of some modalities, sorted by clip, then modality in the given order, then index.

    Args:
      source: layout of the tokens to sort.
      modalities: modalities of the rows; tokens of others are left out.
      length: tokens of a row; those beyond the source's stay empty.
    """
    # Example: modalities (text, video). The rank of audio and padding is -1; their key sorts them last.
    #   source         v  v  t  a  v
    #   clip           0  0  0  0  1
    #   key            1  1  0  ∞  3    = clip * 2 + rank
    #   gather_index   2  0  1  4 -1    the row is t v v v
    #   scatter_index  1  2  0 -1  3    its inverse
    # The last entry of `order` is for PADDING: it is -1, which indexes from the end.
    order = np.full(len(MODALITIES) + 1, PADDING, np.int32)
    for number, name in enumerate(modalities):
        order[MODALITIES.index(name)] = number
    rank = jnp.asarray(order)[source.modality]
    member = rank != PADDING
    key = jnp.where(member, source.clip * len(modalities) + rank, np.iinfo(np.int32).max)
    sorted_index = jnp.argsort(key, axis=1, stable=True)
    # The argsort of a permutation is its inverse.
    scatter_index = jnp.where(member, jnp.argsort(sorted_index, axis=1), PADDING).astype(jnp.int32)
    gather_index = jnp.where(jnp.take_along_axis(member, sorted_index, axis=1), sorted_index, PADDING)
    gather_index = gather_index[:, :length].astype(jnp.int32)
    gather_index = jnp.pad(gather_index, ((0, 0), (0, length - gather_index.shape[1])), constant_values=PADDING)

    def gathered(field: Array, empty: int) -> Array:
        ones = [1] * (field.ndim - 2)
        index = gather_index.reshape(*gather_index.shape, *ones)
        return jnp.where(index != PADDING, jnp.take_along_axis(field, jnp.maximum(index, 0), axis=1), empty)

    layout = TokenLayout(
        source_index=jnp.maximum(gather_index, 0),
        modality=gathered(source.modality, PADDING),
        clip=gathered(source.clip, PADDING),
        time=gathered(source.time, 0),
        grid=gathered(source.grid, 0),
    )
    # Every device holds the layout of its rows whole, so indices computed from it need no communication.
    return jax.tree.map(by_rows, PackedRows(layout, gather_index, scatter_index, modalities))


@jax.custom_vjp
def permute_tokens(
    x: Float[Array, "B S *rest"], gather_index: Int[Array, "B T"], scatter_index: Int[Array, "B S"]
) -> Float[Array, "B T *rest"]:
    """Permute tokens: `out[t] = x[gather_index[t]]`, zero where `gather_index` is `PADDING`.

    Example: `x = [a, b, c]`, `gather_index = [2, 0, -1]` and `scatter_index = [1, -1, 0]` give `[c, a, 0]`.

    Args:
      x: tokens.
      gather_index: index in `x` of each token of the result; none occurs twice.
      scatter_index: index in the result of each token of `x`, `PADDING` if it is left out.
    """
    return _permute(x, gather_index)


def _permute(x: Array, index: Array) -> Array:
    ones = [1] * (x.ndim - 2)
    # Rows may be split over devices. A gather of few tokens (the copies of a bottleneck) fetches only those from the
    # devices that hold them; a gather of many collects the whole rows first.
    few = index.shape[1] * token_parts(x) < x.shape[1]
    source, constrain = (x, whole_rows) if few else (whole_rows(x), by_tokens)
    picked = jnp.take_along_axis(source, jnp.maximum(index, 0).reshape(*index.shape, *ones), axis=1)
    return constrain(jnp.where((index != PADDING).reshape(*index.shape, *ones), picked, 0))


def _permute_forward(x: Array, gather_index: Array, scatter_index: Array) -> tuple[Array, tuple[Array, Array]]:
    return _permute(x, gather_index), (gather_index, scatter_index)


def _permute_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, np.ndarray, np.ndarray]:
    # A token of `x` was copied to at most one index, so its gradient is one entry: a gather by the inverse.
    _, scatter_index = kept
    # JAX demands a gradient of dtype float0 for each integer argument.
    none = [np.zeros(index.shape, jax.dtypes.float0) for index in kept]
    return _permute(gradient, scatter_index), *none


permute_tokens.defvjp(_permute_forward, _permute_backward)
