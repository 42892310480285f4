"""Clips put together anew: the video and sound of one with the text of another, in rows of their own."""

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
    """New rows of old tokens.

    Letters: `R` new rows, `S` places in one, `E` clip slots.

    Attributes:
      layout: the new rows; `index` is of no use.
      token: which token of the old rows, counted through all of them, stands in each place.
      owner: of which old clip, counted through all rows, each new clip has each modality.
      fits: which of the wanted clips found room.
      budgets: the most tokens that a new row has of each modality of the stream.
    """

    layout: TokenLayout
    token: Int[Array, "R S"]
    owner: Int[Array, "R E 3"]
    fits: Bool[Array, "R E"]
    budgets: tuple[tuple[str, int], ...] = dataclasses.field(metadata={"static": True})

    def carry(self, x: Float[Array, "B T D"], source: TokenPool) -> tuple[Float[Array, "R U D"], TokenPool]:
        """The tokens of the old rows in the new ones; what stands for a modality of a clip goes with its owner."""
        width, clips = x.shape[-1], source.clips
        tokens = x[:, : source.tokens].reshape(-1, width)[self.token]
        parts = [jnp.where(self.layout.is_token[..., None], tokens, 0)]
        new, first = TokenPool.of(self.layout, clips, dict(self.budgets)), source.tokens
        for extra in source.extras:
            kinds = np.array([MODALITIES.index(name) for name in extra.modalities])
            each = x[:, first : first + extra.size(clips)].reshape(-1, len(kinds), extra.count, width)
            taken = each[self.owner[..., kinds], np.arange(len(kinds))]
            parts.append(taken.reshape(len(taken), -1, width))
            new, first = new.with_extra(extra), first + extra.size(clips)
        return by_tokens(jnp.concatenate(parts, axis=1)), new


def first_fused_stage(plan: tuple[Stage, ...], modalities: tuple[str, ...]) -> int | None:
    """Number of the first stage in which text meets other modalities of the run; None if it never does."""
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
    """Rows in which each clip has the media of one clip and the text of another.

    Clips are counted through all rows, `row * E + slot`. They are put into a row in order; one for
    which there is no more room is left out, and the next ones still tried. A row has as much room
    for media as an old one and, where it holds several clips, twice as much for text, so that any
    single clip fits, and several do unless most of them got larger.

    Args:
      source: the old rows.
      media, text: whose media and whose text each new clip has.
      wanted: which of the new clips are.
    """
    clips, row = source.clips, jax.tree.map(lambda field: field[:, : source.tokens], source.layout)
    budgets = {name: size * (2 if name == "text" and clips > 1 else 1) for name, size in source.budgets}
    room = [budgets.get(name, 0) for name in MODALITIES]
    room.append(min(source.tokens, room[Modality.VIDEO] + room[Modality.AUDIO]))
    first, count = _ranges(row, clips)
    owner, kinds = jnp.stack([media, media, text], axis=-1), np.arange(KINDS)
    need = count[owner, kinds]
    fits = wanted & _fit(jnp.where(wanted[..., None], need, 0), room)
    need = jnp.where(fits[..., None], need, 0).reshape(len(media), -1)
    start = first[owner, kinds].reshape(need.shape)
    layout, token = _lay_out(row, start, need, room[Modality.TEXT] + room[-1])
    return RePaired(layout, token, owner.astype(jnp.int32), fits, tuple(budgets.items()))


def _lay_out(
    old: TokenLayout, start: Int[Array, "R P"], need: Int[Array, "R P"], length: int
) -> tuple[TokenLayout, Int[Array, "R S"]]:
    """Rows of `P` parts, the modalities of every clip, one behind the other; and the old token in each place.

    Args:
      old: the old rows.
      start: the first token of each part, counted through all old rows.
      need: its number of tokens.
      length: of the new rows.
    """
    ends = jnp.cumsum(need, axis=1)
    place = jnp.arange(length, dtype=jnp.int32)
    part = jax.vmap(lambda row: jnp.searchsorted(row, place, side="right"))(ends).astype(jnp.int32)
    real, part = part < need.shape[1], jnp.minimum(part, need.shape[1] - 1)
    token = place + jnp.take_along_axis(start - (ends - need), part, axis=1)
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
    """The first token, counted through all rows, and the number of tokens of each modality of every clip."""
    batch, length = layout.modality.shape
    kind = jnp.where(layout.is_token, layout.clip * KINDS + layout.modality, PADDING)
    own = kind[:, None] == jnp.arange(clips * KINDS)[:, None]
    first = own.argmax(axis=-1) + length * jnp.arange(batch)[:, None]
    return first.reshape(-1, KINDS), own.sum(axis=-1).reshape(-1, KINDS)


def _fit(need: Int[Array, "R E 3"], room: Sequence[int]) -> Bool[Array, "R E"]:
    """Which clips of each row find room for video, audio, text, and both media; first come, first served."""
    need = jnp.concatenate([need, need[..., :2].sum(axis=-1, keepdims=True)], axis=-1)
    most = np.array(room)

    def put(used: Array, more: Array) -> tuple[Array, Array]:
        fits = (used + more <= most).all(axis=-1)
        return jnp.where(fits[:, None], used + more, used), fits

    _, fits = jax.lax.scan(put, jnp.zeros_like(need[:, 0]), jnp.moveaxis(need, 1, 0))
    return fits.T
