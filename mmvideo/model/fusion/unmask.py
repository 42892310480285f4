"""The same clips with nothing hidden, made on the device of what a masked stream holds."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmvideo.model.fusion.sorting import clip_order, join_rows, take_tokens
from mmvideo.stream import MODALITIES, PADDING, Modality, TokenLayout, TokenStream


def unmask_batch(stream: TokenStream) -> TokenStream:
    """The stream with every hidden patch and piece back in the rows of its layout.

    A row is as long as the decoder's with the row's text behind it. Patches that the stream doesn't
    hold at all, because neither encoder nor decoder was to see them, stay away.

    Returns:
      A stream without `decode`; the places of its `targets` are where the hidden tokens now stand
      in the rows of its `layout`.
    """
    stream = jax.tree.map(jnp.asarray, stream)
    content = {
        name: jnp.concatenate([patches, stream.targets[name].content], axis=1)
        if name in stream.targets and name != "text"
        else patches
        for name, patches in stream.content.items()
    }
    if "text" in content:
        content["text"] = original_text_ids(stream)
    if stream.decode is None:
        return dataclasses.replace(stream, content=content)
    both = _media_and_text(stream)
    order = clip_order(both)
    stands = jnp.argsort(order, axis=1).astype(jnp.int32)
    decoded = stream.decode.modality.shape[1]
    targets = {}
    for name, target in stream.targets.items():
        place = jnp.maximum(target.target_index, 0) + (decoded if name == "text" else 0)
        place = jnp.where(target.target_index == PADDING, PADDING, jnp.take_along_axis(stands, place, axis=1))
        targets[name] = dataclasses.replace(target, target_index=place)
    length = decoded + (content["text"].shape[1] if "text" in content else 0)
    layout = take_tokens(both, order[:, :length])
    return dataclasses.replace(stream, content=content, layout=layout, targets=targets, decode=None)


def original_text_ids(stream: TokenStream) -> Int[Array, "B N"]:
    """The text of a stream with the hidden pieces in the places of the mask piece."""
    text_tokens = stream.content["text"]
    if "text" not in stream.targets:
        return text_tokens
    target = stream.targets["text"]
    slot = jnp.take_along_axis(stream.layout.source_index, jnp.maximum(target.target_index, 0), axis=1) - text_offset(
        stream
    )
    slot = jnp.where(target.target_index == PADDING, text_tokens.shape[1], slot)
    return jax.vmap(lambda row, at, true: row.at[at].set(true, mode="drop"))(text_tokens, slot, target.content)


def text_offset(stream: TokenStream) -> int:
    """Where text begins in the source that `stream.layout.source_index` counts in."""
    return sum(stream.content[name].shape[1] for name in MODALITIES[:-1] if name in stream.content)


def _media_and_text(stream: TokenStream) -> TokenLayout:
    """The decoder's rows and behind them the text of the encoder's; `index` counts in the full content."""
    source = _sources(stream)
    media = dataclasses.replace(
        stream.decode, source_index=jnp.take_along_axis(source, stream.decode.source_index, axis=1)
    )
    text = dataclasses.replace(
        stream.layout,
        source_index=source[:, : stream.layout.source_index.shape[1]],
        modality=jnp.where(stream.layout.modality == Modality.TEXT, Modality.TEXT, PADDING),
    )
    both = join_rows(media, text)
    return dataclasses.replace(both, source_index=jnp.where(both.is_token, both.source_index, 0))


def _sources(stream: TokenStream) -> Int[Array, "B S"]:
    """Where what `stream.decode.index` counts stands in the full content, in which hidden patches follow shown ones."""
    batch = stream.layout.source_index.shape[0]
    shown, hidden, end = jnp.zeros_like(stream.layout.source_index), [], 0
    for number, name in enumerate(MODALITIES):
        if name not in stream.content:
            continue
        moved = sum(part.shape[1] for part in hidden)
        shown = jnp.where(stream.layout.modality == number, stream.layout.source_index + moved, shown)
        end += stream.content[name].shape[1]
        if name in stream.targets and name != "text":
            count = stream.targets[name].content.shape[1]
            hidden.append(jnp.broadcast_to(end + jnp.arange(count, dtype=jnp.int32), (batch, count)))
            end += count
    return jnp.concatenate([shown, *hidden], axis=1)
