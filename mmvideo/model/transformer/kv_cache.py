"""Keys and values kept of what text has seen, so that a new piece costs one token and nothing is run again.

Causal text sees its clip's video and sound, which never see it, and its own pieces so far. So the media run
through the trunk once, and of every layer in which text meets them their keys and values stay (`prefill`); a new
piece of every clip then runs through the layers alone, asks what was kept, and adds its own keys and values
(`decode_step`, `KVCache.update`). Every clip of a packed row reads at once: the media stand in the row as they were
packed, and a query is shown its own clip's.

Letters: `W` texts of a clip that are written side by side, `P` pieces that are read at once, `T` slots for the keys
and values of pieces read before, `M` media tokens of a row, `n` layers of a stage.
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
    """What stays the same in one stage while text is written.

    Attributes:
      layers: the weights that text meets, stacked.
      keys, values: of the media, as text sees them; `M` is 0 where text is apart.
      owner: slot of the clip of each, `PADDING` for what no text sees.
    """

    layers: LayerParams
    keys: Float[Array, "n B M N H"]
    values: Float[Array, "n B M N H"]
    owner: Int[Array, "B M"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the pieces of every text in one stage, for `W` texts of each of `E` clips."""

    keys: Float[Array, "n B W E T N H"]
    values: Float[Array, "n B W E T N H"]

    def pad_to(self, slots: int) -> KVCache:
        """With empty slots behind, `slots` in all."""
        more = [(0, 0)] * 4 + [(0, slots - self.keys.shape[4])] + [(0, 0)] * 2
        return self._map(lambda kept: jnp.pad(kept, more))

    def update(self, new: KVCache, slot: Int[Array, ""]) -> KVCache:
        """With what is new from a slot on."""
        pairs = ((self.keys, new.keys), (self.values, new.values))
        return KVCache(*(jax.lax.dynamic_update_slice_in_dim(old, more, slot, axis=4) for old, more in pairs))

    def repeated(self, texts: int) -> KVCache:
        """The same for each of `W` texts of a clip, of which there was one."""
        return self._map(lambda kept: jnp.repeat(kept, texts, axis=2))

    def take(self, text: Int[Array, "B W E"]) -> KVCache:
        """What was kept of other texts of the same clips."""
        number = text[None, ..., None, None, None]
        return self._map(lambda kept: jnp.take_along_axis(kept, number, axis=2))

    def _map(self, change) -> KVCache:
        return KVCache(change(self.keys), change(self.values))


def prefill(backbone: nnx.Module, stream: TokenStream) -> tuple[PrefixCache, ...]:
    """Runs the media of a stream through the trunk and keeps what text sees of them, stage by stage.

    Args:
      backbone: with causal text, deterministic.
      stream: any text in it is left out.

    Raises:
      ValueError: a trunk that is no transformer, or whose text is not causal.
    """
    if not isinstance(backbone, MultimodalTransformer):
        raise ValueError("text is written by model.kind transformer only: a baseline has no features of single pieces")
    if "text" not in backbone.spec.modalities or backbone.config.fusion.text != "causal":
        raise ValueError("text is written by a model of causal text only: set model.fusion.text to causal")
    media, batch = _media(jax.tree.map(jnp.asarray, stream)), len(stream.clips.clip_index)
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
    place: Int[Array, "B W E P"],
    known: Bool[Array, "B E T"],
) -> tuple[Float[Array, "B W E P D"], tuple[KVCache, ...]]:
    """Runs new pieces of every text through all layers, each seeing those before it; the rest is kept already.

    Args:
      backbone: as of `prefill`.
      seen: what the texts see of their clips.
      written: what was kept of earlier pieces.
      text_tokens: the new ones.
      place: their numbers within the text.
      known: which slots of `written` hold a piece of the text.

    Returns:
      The tokens at the top, and keys and values of the new pieces: slots of their own, `P` of them.
    """
    batch, texts, clips, count = text_tokens.shape
    x, rows = _embedded(backbone, text_tokens, place)
    rotation, new = backbone.position.rotation(rows.layout), []
    for fixed, kept in zip(seen, written, strict=True):
        visible = fixed.owner[:, None] == jnp.arange(clips)[:, None]
        masks = _sight(visible, known, count)
        x, more = _run(backbone, x, rows, rotation, fixed, kept, masks, (batch, texts, clips, count))
        new.append(more)
    top = backbone.norms[backbone.stages[-1].name](x, rows.layout.modality)
    return top.reshape(batch, texts, clips, count, -1), tuple(new)


def empty_cache(seen: tuple[PrefixCache, ...], clips: int) -> tuple[KVCache, ...]:
    """Nothing kept yet, and no slots, for one text of each of `clips` clips of a row."""
    kept = []
    for fixed in seen:
        count, batch, _, heads, head = fixed.keys.shape
        nothing = jnp.zeros((count, batch, 1, clips, 0, heads, head), fixed.keys.dtype)
        kept.append(KVCache(nothing, nothing))
    return tuple(kept)


def _media(stream: TokenStream) -> TokenStream | None:
    """The stream without text in rows as short as that allows; None if it has no room for anything else."""
    base = text_offset(stream)
    if not base:
        return None
    old = stream.layout
    layout = dataclasses.replace(old, modality=jnp.where(old.modality == Modality.TEXT, PADDING, old.modality))
    order = clip_order(layout)[:, : min(old.modality.shape[1], base)]
    content = {name: value for name, value in stream.content.items() if name != "text"}
    return dataclasses.replace(stream, content=content, layout=take_tokens(layout, order), targets={}, decode=None)


def _text_weights(backbone: MultimodalTransformer, layers: LayerParams) -> LayerParams:
    """The weights that a row of text meets, once for all pieces in the dtype of activations and on every device.

    In a loop over pieces each would otherwise wait for all weights that are split over a mesh.
    """
    dtype, weights = backbone.config.compute, layer_params_for(layers, TEXT)
    cast = {name: value.astype(dtype) if name.endswith("_kernel") else value for name, value in weights.items()}
    return jax.tree.map(whole, cast)


def _no_media(backbone: MultimodalTransformer, layers: LayerParams, batch: int) -> tuple[Array, Array, Array]:
    """Keys, values and owners of no media at all."""
    kernel = layers["qkv_kernel"]
    nothing = jnp.zeros((len(kernel), batch, 0, *kernel.shape[-2:]), backbone.config.compute)
    return nothing, nothing, jnp.zeros((batch, 0), jnp.int32)


def _kept_media(
    backbone: MultimodalTransformer, stage: Stage, x: Array, source, layers: LayerParams, met: tuple[str, ...]
) -> tuple[Array, Array, Array]:
    """Keys, values and owners of the media that text meets in a stage, for the tokens that come into it."""
    route, computing = backbone.route(stage, source), ComputeConfig.of(backbone.config)
    block = computing.block

    def body(xs: Tokens, layer: LayerParams) -> tuple[Tokens, tuple[Array, Array]]:
        kept = []
        for x, rows, rotation in zip(xs, route.rows, route.rotations, strict=True):
            own = layer_params_for(layer, TEXT if route.cross else rows.modalities)
            kept.append(qkv_projection(pre_norm(x, own, "attention", rows, block), own, rotation, block, KV))
        keys, values = (by_rows(jnp.concatenate(parts, axis=1)) for parts in zip(*kept, strict=True))
        return tuple(by_tokens(x) for x in transformer_layer(xs, layer, None, route, computing)), (keys, values)

    xs = tuple(rows.gather(x) for rows in route.rows)
    _, (keys, values) = jax.lax.scan(body, xs, layers, unroll=1 if trunk.config.scan else stage.end - stage.first)
    kinds = jnp.array([MODALITIES.index(name) for name in met])
    owners = [jnp.where(jnp.isin(rows.layout.modality, kinds), rows.layout.clip, PADDING) for rows in route.rows]
    return keys, values, jnp.concatenate(owners, axis=1)


def _embedded(
    backbone: MultimodalTransformer, text_tokens: Int[Array, "B W E P"], place: Int[Array, "B W E P"]
) -> tuple[Float[Array, "B S D"], PackedRows]:
    """The tokens of pieces, one behind the other, with their positions; and the row in which they stand."""
    batch, texts, clips, count = text_tokens.shape
    size = texts * clips * count
    zeros = jnp.zeros((batch, size), jnp.int32)
    slot = jnp.broadcast_to(jnp.arange(clips, dtype=jnp.int32)[:, None], text_tokens.shape).reshape(batch, size)
    grid = jnp.stack([zeros, zeros, place.reshape(batch, size).astype(jnp.int32)], axis=-1)
    layout = TokenLayout(zeros, jnp.full_like(zeros, Modality.TEXT), slot, zeros.astype(jnp.float32), grid)
    x = backbone.embed.text(text_tokens.reshape(batch, size))
    x = by_rows(x + backbone.embed.modality(layout, x.dtype))
    x = backbone.embedding_norm.of_some(backbone.position.add(x, layout), layout.modality)
    return x, PackedRows(layout, None, None, TEXT)


def _sight(
    visible: Bool[Array, "B E M"], known: Bool[Array, "B E T"], count: int
) -> tuple[Bool[Array, "B 1 E 1 1 M"], Bool[Array, "B 1 E 1 1 T"], Bool[Array, "1 1 1 P 1 P"]]:
    """What queries `[B W E P N]` see of media, of earlier pieces, and of the new ones."""
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
    """The layers of a stage over new pieces; what was kept is only read, and what is new is put there behind them."""
    block = backbone.config.block

    def body(x: Array, layer: tuple[LayerParams, tuple[Array, ...]]) -> tuple[Array, tuple[Array, Array]]:
        own, (media_keys, media_values, keys, values) = layer
        q, k, v = qkv_projection(pre_norm(x, own, "attention", rows, block), own, rotation, block)
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
    """Attention as of `attention_weights` over media `[B M N H]`, earlier and new pieces `[B W E T N H]`."""
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
