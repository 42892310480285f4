"""The same clips with nothing hidden, computed on the device from a masked stream."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmvideo.model.fusion.sorting import clip_order, join_rows, take_tokens
from mmvideo.stream import MODALITIES, PADDING, Modality, TokenLayout, TokenStream


def unmask_batch(stream: TokenStream) -> TokenStream:
    """Return the stream with every hidden patch and text token back in the rows of its layout.

    A row is as long as the decoder's row and the row's text together. Patches that the stream does not hold, because
    neither encoder nor decoder was to see them, stay absent.

    Returns:
      A stream without `decode`; `target_index` of its `targets` is the index of the restored tokens in the rows of its
      `layout`.
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
    # `order` lists old indices in new order; its argsort is the inverse: the new index of each old token. Example:
    # order [2, 0, 1] moves token 2 to the front; its inverse [1, 2, 0] sends a target at index 2 to 0.
    order = clip_order(both)
    new_index = jnp.argsort(order, axis=1).astype(jnp.int32)
    decoded = stream.decode.modality.shape[1]
    targets = {}
    for name, target in stream.targets.items():
        # Patches are indexed in the decoder's row; text, in the encoder's, comes after it in `both`.
        old_index = jnp.maximum(target.target_index, 0) + (decoded if name == "text" else 0)
        moved = jnp.take_along_axis(new_index, old_index, axis=1)
        targets[name] = dataclasses.replace(
            target, target_index=jnp.where(target.target_index == PADDING, PADDING, moved)
        )
    length = decoded + (content["text"].shape[1] if "text" in content else 0)
    layout = take_tokens(both, order[:, :length])
    return dataclasses.replace(stream, content=content, layout=layout, targets=targets, decode=None)


def original_text_ids(stream: TokenStream) -> Int[Array, "B N"]:
    """Return the text token ids of a stream with the hidden ids back in place of the mask token."""
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
    """Return the index of the first text token in the source that `stream.layout.source_index` counts in."""
    return sum(stream.content[name].shape[1] for name in MODALITIES[:-1] if name in stream.content)


def _media_and_text(stream: TokenStream) -> TokenLayout:
    """Return the decoder's rows followed by the text of the encoder's; `source_index` counts in the full content."""
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
    """Return where the source of the decoder's rows is in the full content, in which hidden follow visible patches."""
    # Example: 2 visible and 1 hidden video patches, 1 visible and 2 hidden audio patches.
    #   full content     v0 v1 | hidden v | a0 | hidden a a | text …     indices 0 1 | 2 | 3 | 4 5 | 6 …
    #   visible content  v0 v1 | a0 | text …                             indices 0 1 | 2 | 3 …
    # A visible audio token moves from 2 to 3, visible text by 3; the hidden ones are at [2] and [4, 5].
    batch = stream.layout.source_index.shape[0]
    shown = jnp.zeros_like(stream.layout.source_index)
    hidden = []
    end = 0
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
