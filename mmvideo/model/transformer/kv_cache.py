"""A cache of the keys and values that text attends to, so that a new text token costs the work of one token.

Causal text attends to its clip's video and audio, which never attend to text, and to its own earlier tokens. The media
therefore run through the backbone once, and for every layer in which text attends to them their keys and values are
kept (`prefill`). New tokens of every clip then run through the layers alone, attend to the cache, and add their own
keys and values (`decode_step`, `KVCache.update`). All clips of a packed row are decoded at once: the media stay packed
in the row, and a mask shows each query its own clip's.

Letters: `W` texts of a clip that are generated in parallel, `P` new tokens of a text in one step, `T` slots for keys
and values of earlier tokens, `M` media tokens of a row, `n` layers of a stage.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.attention.scores import MASKED_SCORE, apply_soft_cap
from mmvideo.model.config import Block
from mmvideo.model.fusion.fusion_stages import Stage
from mmvideo.model.fusion.gather import PackedRows
from mmvideo.model.fusion.sorting import clip_order, take_tokens
from mmvideo.model.fusion.unmask import text_offset
from mmvideo.model.positions.schemes import Rotation
from mmvideo.model.sharding import by_rows, by_tokens, whole
from mmvideo.model.transformer.block import (
    KV,
    LayerParams,
    feed_forward,
    layer_params_for,
    output_projection,
    pre_norm,
    qkv_projection,
    residual_add,
)
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.model.transformer.run_layers import ComputeConfig, Tokens, transformer_layer
from mmvideo.model.transformer.stacks import layers_of
from mmvideo.stream import MODALITIES, PADDING, Modality, TokenLayout, TokenStream

TEXT = ("text",)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PrefixCache:
    """The constants of one stage during generation: weights, and keys and values of the media.

    Attributes:
      layers: the weights of text, stacked.
      keys, values: keys and values of the media for text; `M` is 0 where text is unfused.
      owner: slot of the clip of each media token, `PADDING` for tokens that no text attends to.
    """

    layers: LayerParams
    keys: Float[Array, "n B M N H"]
    values: Float[Array, "n B M N H"]
    owner: Int[Array, "B M"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens of every text in one stage, for `W` texts of each of `E` clips."""

    keys: Float[Array, "n B W E T N H"]
    values: Float[Array, "n B W E T N H"]

    def pad_to(self, slots: int) -> KVCache:
        """Return the cache with empty slots appended, `slots` in all."""
        # Axis 4 of [n, B, W, E, T, N, H] is that of the slots.
        more = [(0, 0)] * 4 + [(0, slots - self.keys.shape[4])] + [(0, 0)] * 2
        return self._map(lambda kept: jnp.pad(kept, more))

    def update(self, new: KVCache, slot: Int[Array, ""]) -> KVCache:
        """Return the cache with new keys and values from a slot on."""
        pairs = ((self.keys, new.keys), (self.values, new.values))
        return KVCache(*(jax.lax.dynamic_update_slice_in_dim(old, more, slot, axis=4) for old, more in pairs))

    def repeated(self, texts: int) -> KVCache:
        """Return the cache of one text per clip, repeated for `W` texts."""
        return self._map(lambda kept: jnp.repeat(kept, texts, axis=2))

    def take(self, text: Int[Array, "B W E"]) -> KVCache:
        """Return the cache with other texts of the same clips."""
        # Beam search: with W = 3, text [2, 2, 0] continues the third text twice and the first once.
        index = text[None, ..., None, None, None]
        return self._map(lambda kept: jnp.take_along_axis(kept, index, axis=2))

    def _map(self, change) -> KVCache:
        return KVCache(change(self.keys), change(self.values))


def prefill(backbone: nnx.Module, stream: TokenStream) -> tuple[PrefixCache, ...]:
    """Run the media of a stream through the backbone and keep the keys and values for text, stage by stage.

    Args:
      backbone: a backbone with causal text, deterministic.
      stream: the batch; any text in it is left out.

    Raises:
      ValueError: a backbone that is no transformer, or whose text is not causal.
    """
    if not isinstance(backbone, MultimodalTransformer):
        raise ValueError("text generation needs model.kind transformer: a baseline has no features of single tokens")
    if "text" not in backbone.spec.modalities or backbone.config.fusion.text != "causal":
        raise ValueError("text generation needs causal text: set model.fusion.text to causal")
    # Without media (a text-only batch) the backbone need not run at all: text attends only to itself.
    media = _media(jax.tree.map(jnp.asarray, stream))
    batch = len(stream.clips.clip_index)
    features = None if media is None else backbone(media)
    seen = []
    for number, stage in enumerate(backbone.stages):
        layers = layers_of(backbone.blocks, backbone.stages, stage.first, stage.end)
        met = () if media is None else tuple(name for name in stage.visible_modalities("text") if name in media.content)
        if met:
            kept = _kept_media(backbone, stage, features.entering[number], features.source, layers, met)
        else:
            kept = _no_media(backbone, _text_weights(backbone, layers), batch)
        seen.append(PrefixCache(_text_weights(backbone, layers), *kept))
    return tuple(seen)


def decode_step(
    backbone: MultimodalTransformer,
    seen: tuple[PrefixCache, ...],
    written: tuple[KVCache, ...],
    text_tokens: Int[Array, "B W E P"],
    position: Int[Array, "B W E P"],
    known: Bool[Array, "B E T"],
) -> tuple[Float[Array, "B W E P D"], tuple[KVCache, ...]]:
    """Run new tokens of every text through all layers; each attends to the media and the tokens before it.

    Args:
      backbone: as for `prefill`.
      seen: keys and values of the media.
      written: keys and values of earlier tokens.
      text_tokens: ids of the new tokens.
      position: their indices within the text.
      known: mask of the slots of `written` that hold a token of the text.

    Returns:
      The tokens at the top; and the keys and values of the new tokens, in `P` slots of their own.
    """
    batch, texts, clips, count = text_tokens.shape
    x, rows = _embedded(backbone, text_tokens, position)
    rotation = backbone.position.rotation(rows.layout)
    new = []
    for fixed, kept in zip(seen, written, strict=True):
        visible = fixed.owner[:, None] == jnp.arange(clips)[:, None]
        # A query attends to the media of its clip. Example: owner [0 0 1 -1] gives clip 1 the mask [0 0 1 0].
        masks = _sight(visible, known, count)
        x, more = _run(backbone, x, rows, rotation, fixed, kept, masks, (batch, texts, clips, count))
        new.append(more)
    top = backbone.norms[backbone.stages[-1].name](x, rows.layout.modality)
    return top.reshape(batch, texts, clips, count, -1), tuple(new)


def empty_cache(seen: tuple[PrefixCache, ...], clips: int) -> tuple[KVCache, ...]:
    """Return a cache without slots, for one text of each of `clips` clips of a row."""
    kept = []
    for fixed in seen:
        count, batch, _, heads, head = fixed.keys.shape
        nothing = jnp.zeros((count, batch, 1, clips, 0, heads, head), fixed.keys.dtype)
        kept.append(KVCache(nothing, nothing))
    return tuple(kept)


def _media(stream: TokenStream) -> TokenStream | None:
    """Return the stream without text, in rows as short as possible; None if it can hold nothing else."""
    base = text_offset(stream)
    if not base:
        return None
    old = stream.layout
    layout = dataclasses.replace(old, modality=jnp.where(old.modality == Modality.TEXT, PADDING, old.modality))
    # The removed text is now padding, which sorts last. Media have `base` tokens at most, so a row of that length holds
    # them.
    order = clip_order(layout)[:, : min(old.modality.shape[1], base)]
    content = {name: value for name, value in stream.content.items() if name != "text"}
    return dataclasses.replace(stream, content=content, layout=take_tokens(layout, order), targets={}, decode=None)


def _text_weights(backbone: MultimodalTransformer, layers: LayerParams) -> LayerParams:
    """Return the weights of text, cast once to the dtype of activations and gathered on every device.

    Otherwise each turn of the loop over tokens would wait for all weights that are split over a mesh.
    """
    dtype = backbone.config.compute
    weights = layer_params_for(layers, TEXT)
    cast = {name: value.astype(dtype) if name.endswith("_kernel") else value for name, value in weights.items()}
    return jax.tree.map(whole, cast)


def _no_media(backbone: MultimodalTransformer, layers: LayerParams, batch: int) -> tuple[Array, Array, Array]:
    """Return empty keys, values and owners."""
    kernel = layers["qkv_kernel"]
    nothing = jnp.zeros((len(kernel), batch, 0, *kernel.shape[-2:]), backbone.config.compute)
    return nothing, nothing, jnp.zeros((batch, 0), jnp.int32)


def _kept_media(
    backbone: MultimodalTransformer, stage: Stage, x: Array, source, layers: LayerParams, met: tuple[str, ...]
) -> tuple[Array, Array, Array]:
    """Return keys, values and owners of the media that text attends to in a stage, from the tokens that enter it."""
    route = backbone.route(stage, source)
    computing = ComputeConfig.of(backbone.config)
    block = computing.block

    def body(xs: Tokens, layer: LayerParams) -> tuple[Tokens, tuple[Array, Array]]:
        kept = []
        for x, rows, rotation in zip(xs, route.rows, route.rotations, strict=True):
            # In cross fusion the queries of text meet keys and values of text's own weights, else those of each row's
            # weights.
            own = layer_params_for(layer, TEXT if route.cross else rows.modalities)
            kept.append(qkv_projection(pre_norm(x, own, "attention", rows, block), own, rotation, block, KV))
        keys, values = (by_rows(jnp.concatenate(parts, axis=1)) for parts in zip(*kept, strict=True))
        return tuple(by_tokens(x) for x in transformer_layer(xs, layer, None, route, computing)), (keys, values)

    xs = tuple(rows.gather(x) for rows in route.rows)
    _, (keys, values) = jax.lax.scan(body, xs, layers, unroll=1 if backbone.config.scan else stage.end - stage.first)
    kinds = jnp.array([MODALITIES.index(name) for name in met])
    owners = [jnp.where(jnp.isin(rows.layout.modality, kinds), rows.layout.clip, PADDING) for rows in route.rows]
    return keys, values, jnp.concatenate(owners, axis=1)


def _embedded(
    backbone: MultimodalTransformer, text_tokens: Int[Array, "B W E P"], position: Int[Array, "B W E P"]
) -> tuple[Float[Array, "B S D"], PackedRows]:
    """Return the embeddings of text tokens with their positions, flattened to one row, and that row."""
    batch, texts, clips, count = text_tokens.shape
    size = texts * clips * count
    zeros = jnp.zeros((batch, size), jnp.int32)
    slot = jnp.broadcast_to(jnp.arange(clips, dtype=jnp.int32)[:, None], text_tokens.shape).reshape(batch, size)
    grid = jnp.stack([zeros, zeros, position.reshape(batch, size).astype(jnp.int32)], axis=-1)
    layout = TokenLayout(zeros, jnp.full_like(zeros, Modality.TEXT), slot, zeros.astype(jnp.float32), grid)
    x = backbone.embed.text(text_tokens.reshape(batch, size))
    x = by_rows(x + backbone.embed.modality(layout, x.dtype))
    x = backbone.embedding_norm.of_some(backbone.position.add(x, layout), layout.modality)
    return x, PackedRows(layout, None, None, TEXT)


def _sight(
    visible: Bool[Array, "B E M"], known: Bool[Array, "B E T"], count: int
) -> tuple[Bool[Array, "B 1 E 1 1 M"], Bool[Array, "B 1 E 1 1 T"], Bool[Array, "1 1 1 P 1 P"]]:
    """Return the masks of queries `[B W E P N]` for media, for earlier tokens, and for the new ones."""
    # Example: P = 3 new tokens: [[1, 0, 0], [1, 1, 0], [1, 1, 1]]; each attends to itself and the new ones before it.
    among = jnp.tril(jnp.ones((count, count), bool))[None, None, None, :, None]
    return visible[:, None, :, None, None], known[:, None, :, None, None], among


def _run(
    backbone: MultimodalTransformer,
    x: Float[Array, "B S D"],
    rows: PackedRows,
    rotation: Rotation | None,
    fixed: PrefixCache,
    kept: KVCache,
    masks: tuple[Array, Array, Array],
    shape: tuple[int, int, int, int],
) -> tuple[Float[Array, "B S D"], KVCache]:
    """Run the layers of a stage over new tokens; return them and their keys and values."""
    block = backbone.config.block

    def body(x: Array, layer: tuple[LayerParams, tuple[Array, ...]]) -> tuple[Array, tuple[Array, Array]]:
        own, (media_keys, media_values, keys, values) = layer
        q, k, v = qkv_projection(pre_norm(x, own, "attention", rows, block), own, rotation, block)
        # From the flat row [B, W E P, N, H] to [B, W, E, P, N, H], the order in which `_embedded` flattened the tokens.
        q, k, v = (part.reshape(*shape, *part.shape[2:]) for part in (q, k, v))
        parts = ((media_keys, media_values), (keys, values), (k, v))
        mixed = _attend(q, parts, masks, block).reshape(*x.shape[:2], *q.shape[-2:])
        x = residual_add(x, output_projection(mixed, own, block), own, "attention", rows, block, None)
        inner = feed_forward(pre_norm(x, own, "feed_forward", rows, block), own, block)
        return by_rows(residual_add(x, inner, own, "feed_forward", rows, block, None)), (k, v)

    layers = (fixed.layers, (fixed.keys, fixed.values, kept.keys, kept.values))
    x, (keys, values) = jax.lax.scan(body, x, layers, unroll=1 if backbone.config.scan else len(fixed.keys))
    return x, KVCache(keys, values)


def _attend(
    q: Float[Array, "B W E P N H"],
    parts: tuple[tuple[Array, Array], ...],
    masks: tuple[Array, Array, Array],
    block: Block,
) -> Float[Array, "B W E P N H"]:
    """Return attention as in `attention_weights` over media `[B M N H]`, and earlier and new tokens `[B W E T N H]`."""
    # Scores of the three parts are concatenated for one softmax, instead of concatenating keys: the media's keys have
    # no axes W and E, and would be repeated for every text.
    patterns = ("bmnh", "bwemnh", "bwemnh")
    scores = [
        jnp.einsum(f"bwepnh,{pattern}->bwepnm", q, k, preferred_element_type=jnp.float32)
        for pattern, (k, _) in zip(patterns, parts, strict=True)
    ]
    scores = apply_soft_cap(jnp.concatenate(scores, axis=-1) * q.shape[-1] ** -0.5, block.soft_cap)
    sizes = [k.shape[-3] for k, _ in parts]
    full = (*q.shape[:-1],)
    mask = jnp.concatenate(
        [jnp.broadcast_to(mask, (*full, size)) for mask, size in zip(masks, sizes, strict=True)], axis=-1
    )
    weights = jax.nn.softmax(jnp.where(mask, scores, MASKED_SCORE), axis=-1).astype(q.dtype)
    first, second = sizes[0], sizes[0] + sizes[1]
    shares = (weights[..., :first], weights[..., first:second], weights[..., second:])
    return sum(
        jnp.einsum(f"bwepnm,{pattern}->bwepnh", share, v)
        for pattern, share, (_, v) in zip(patterns, shares, parts, strict=True)
    )
