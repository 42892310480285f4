"""New clips with the video and audio of one clip and the text of another, in rows of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.fusion.fusion_stages import Stage
from mmvideo.model.fusion.gather import TokenPool
from mmvideo.model.sharding import by_tokens
from mmvideo.stream import MODALITIES, PADDING, Modality, TokenLayout

KINDS = len(MODALITIES)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RePaired:
    """New rows of the tokens of old rows.

    Letters: `R` new rows, `S` tokens of a new row, `E` clip slots.

    Attributes:
      layout: layout of the new rows; its `source_index` is unused.
      token: index of the old token at each index of the new rows, counted through all old rows.
      owner: index of the old clip that each modality of each new clip comes from, counted through all old rows.
      fits: mask of the wanted clips that fit into their row.
      budgets: the most tokens that a new row has of each modality of the stream.
    """

    layout: TokenLayout
    token: Int[Array, "R S"]
    owner: Int[Array, "R E 3"]
    fits: Bool[Array, "R E"]
    budgets: tuple[tuple[str, int], ...] = dataclasses.field(metadata={"static": True})

    def carry(self, x: Float[Array, "B T D"], source: TokenPool) -> tuple[Float[Array, "R U D"], TokenPool]:
        """Return the tokens of the old rows in the new ones; extra tokens of a clip's modality come from its owner."""
        width = x.shape[-1]
        clips = source.clips
        tokens = x[:, : source.tokens].reshape(-1, width)[self.token]
        parts = [jnp.where(self.layout.is_token[..., None], tokens, 0)]
        new = TokenPool.of(self.layout, clips, dict(self.budgets))
        first = source.tokens
        for extra in source.extras:
            kinds = np.array([MODALITIES.index(name) for name in extra.modalities])
            each = x[:, first : first + extra.size(clips)].reshape(-1, len(kinds), extra.count, width)
            # `owner` picks the old clip, `arange` its own modality: [R, E, modalities, count, D].
            gathered = each[self.owner[..., kinds], np.arange(len(kinds))]
            parts.append(gathered.reshape(len(gathered), -1, width))
            new, first = new.with_extra(extra), first + extra.size(clips)
        return by_tokens(jnp.concatenate(parts, axis=1)), new


def first_fused_stage(plan: tuple[Stage, ...], modalities: tuple[str, ...]) -> int | None:
    """Return the index of the first stage in which text is fused with other modalities of the run, or None."""
    for number, stage in enumerate(plan):
        if any(
            "text" in stage.visible_modalities(name) or name in stage.visible_modalities("text")
            for name in modalities
            if name != "text"
        ):
            return number
    return None


def re_pair_stream(
    source: TokenPool, media: Int[Array, "R E"], text: Int[Array, "R E"], wanted: Bool[Array, "R E"]
) -> RePaired:
    """Build rows in which each clip has the media of one clip and the text of another.

    Clips are counted through all rows, `row * E + slot`. They are put into a row in order; a clip that does not fit is
    left out, and the next ones are still tried. The budget of a new row equals that of an old one for media. For text
    it is twice that of an old one if rows hold several clips. Any single clip therefore fits, and several fit unless
    most of them grew.

    Args:
      source: the old rows.
      media, text: index of the clip whose media, and of the clip whose text, each new clip has.
      wanted: mask of the new clips to build.
    """
    clips = source.clips
    row = jax.tree.map(lambda field: field[:, : source.tokens], source.layout)
    budgets = {name: size * (2 if name == "text" and clips > 1 else 1) for name, size in source.budgets}
    capacity = [budgets.get(name, 0) for name in MODALITIES]
    # Video and audio together never fill more than an old row.
    capacity.append(min(source.tokens, capacity[Modality.VIDEO] + capacity[Modality.AUDIO]))
    first, count = _ranges(row, clips)
    owner = jnp.stack([media, media, text], axis=-1)
    kinds = np.arange(KINDS)
    need = count[owner, kinds]
    fits = wanted & _fit(jnp.where(wanted[..., None], need, 0), capacity)
    need = jnp.where(fits[..., None], need, 0).reshape(len(media), -1)
    start = first[owner, kinds].reshape(need.shape)
    layout, token = _lay_out(row, start, need, capacity[Modality.TEXT] + capacity[-1])
    return RePaired(layout, token, owner.astype(jnp.int32), fits, tuple(budgets.items()))


def _lay_out(
    old: TokenLayout, start: Int[Array, "R P"], need: Int[Array, "R P"], length: int
) -> tuple[TokenLayout, Int[Array, "R S"]]:
    """Lay out rows of `P` parts, the modalities of every clip in sequence; return their layout and their old tokens.

    Args:
      old: the old rows.
      start: index of the first token of each part, counted through all old rows.
      need: number of tokens of each part.
      length: length of the new rows.
    """
    # Example: parts of need [2, 0, 1] tokens that start at [5, 9, 0] in the old rows, in a new row of 4:
    #   ends   2 2 3      cumulative lengths
    #   index  0 1 2 3
    #   part   0 0 2 3    the number of ends at or below the index; part 3 does not exist: padding
    #   token  5 6 0 -    = index + start - (ends - need) of the part: its offset within the part, after its start
    ends = jnp.cumsum(need, axis=1)
    index = jnp.arange(length, dtype=jnp.int32)
    part = jax.vmap(lambda row: jnp.searchsorted(row, index, side="right"))(ends).astype(jnp.int32)
    real = part < need.shape[1]
    part = jnp.minimum(part, need.shape[1] - 1)
    token = index + jnp.take_along_axis(start - (ends - need), part, axis=1)
    token = jnp.where(real, token, 0).astype(jnp.int32)
    layout = TokenLayout(
        source_index=jnp.zeros_like(token),
        modality=jnp.where(real, part % KINDS, PADDING),
        clip=jnp.where(real, part // KINDS, PADDING),
        time=jnp.where(real, old.time.reshape(-1)[token], 0),
        grid=jnp.where(real[..., None], old.grid.reshape(-1, 3)[token], 0),
    )
    return layout, token


def _ranges(layout: TokenLayout, clips: int) -> tuple[Int[Array, "n 3"], Int[Array, "n 3"]]:
    """Return for each clip and modality its first token, counted through all rows, and its number of tokens."""
    batch, length = layout.modality.shape
    kind = jnp.where(layout.is_token, layout.clip * KINDS + layout.modality, PADDING)
    own = kind[:, None] == jnp.arange(clips * KINDS)[:, None]
    # Tokens of a clip's modality are contiguous, so the first and the count give them all. Of an absent one `argmax`
    # gives 0, which the count of 0 makes harmless.
    first = own.argmax(axis=-1) + length * jnp.arange(batch)[:, None]
    return first.reshape(-1, KINDS), own.sum(axis=-1).reshape(-1, KINDS)


def _fit(need: Int[Array, "R E 3"], capacity: Sequence[int]) -> Bool[Array, "R E"]:
    """Return the mask of the clips that fit, slot by slot, in the capacity for video, audio, text, and both media."""
    need = jnp.concatenate([need, need[..., :2].sum(axis=-1, keepdims=True)], axis=-1)
    most = np.array(capacity)

    # Example: capacity 10, needs [6, 5, 4]: the first fits (6 used), the second does not, the third does (10 used).
    def put(used: Array, more: Array) -> tuple[Array, Array]:
        fits = (used + more <= most).all(axis=-1)
        return jnp.where(fits[:, None], used + more, used), fits

    _, fits = jax.lax.scan(put, jnp.zeros_like(need[:, 0]), jnp.moveaxis(need, 1, 0))
    return fits.T
