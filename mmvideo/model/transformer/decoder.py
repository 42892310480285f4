"""The light decoder of masked prediction: encoded and hidden tokens in, features to predict from out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.config import Model, decoder_dims, model_dims
from mmvideo.model.embed import ModalityEmbedding, weave
from mmvideo.model.fusion.fusion_stages import APART, TOGETHER
from mmvideo.model.fusion.gather import PackedRows, SpecialTokens, TokenPool
from mmvideo.model.layers.basic import Linear, normal, parameter
from mmvideo.model.layers.norm import Norm
from mmvideo.model.positions.schemes import Position
from mmvideo.model.sharding import by_tokens
from mmvideo.model.transformer.block import TransformerStack
from mmvideo.model.transformer.run_layers import ComputeConfig, run_layers
from mmvideo.stream import MODALITIES, StreamSpec, TokenLayout, TokenStream, attention_spans

PREDICTED = ("video", "audio")
"""Modalities whose hidden patches the decoder predicts, in their order in the source of `stream.decode`."""


class MaskedDecoder(nnx.Module):
    """A narrow transformer over every clip's encoded and hidden patches (MAE, He et al. 2022, section 3).

    Args:
      config: the model; `config.decoder` gives depth, width, heads and what a token sees.
      spec: the modalities of the run.

    Raises:
      ValueError: the decoder is to have class tokens, and the trunk has none.
    """

    def __init__(self, config: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        dims = decoder_dims(config)
        if config.decoder.class_tokens and not config.class_tokens:
            raise ValueError("decoder.class_tokens needs the trunk's: set model.class_tokens to 1 or more")
        self.config = config
        self.names = tuple(name for name in PREDICTED if name in spec.modalities)
        self.narrow = Linear(model_dims(config).width, dims.width, rngs=rngs)
        self.mask = parameter(normal(rngs, (dims.width,)), "norm")
        self.modality = ModalityEmbedding(dims.width, rngs=rngs)
        self.position = Position(config.position, spec, dims.width, dims.head, rngs=rngs)
        self.blocks = TransformerStack(dims, config.block, rngs=rngs)
        self.norm = Norm(dims.width, config.block)

    def __call__(
        self, encoded: Float[Array, "B L D"], stream: TokenStream, classes: Float[Array, "B E 3 C D"] | None = None
    ) -> Float[Array, "B Ld Dd"]:
        """Tokens in the rows of `stream.decode`, after the final norm, in the compute dtype.

        Args:
          encoded: features in the rows of `stream.layout`.
          stream: hides something, so that it has `decode` and `targets`.
          classes: the class tokens of the trunk; needed where `decoder.class_tokens` says so.

        Raises:
          ValueError: a stream that hides nothing.
        """
        if stream.decode is None:
            raise ValueError("nothing to decode: the stream hides nothing (input.masking is off for video and audio)")
        stream = jax.tree.map(jnp.asarray, stream)
        layout = stream.decode
        x = self._tokens(encoded.astype(self.config.compute), stream)
        x = jnp.where(layout.is_token[..., None], self.position.add(x, layout), 0)
        rows, length = None, x.shape[1]
        if self.config.decoder.class_tokens:
            x, rows = self._with_classes(x, layout, classes)
            layout = rows.layout
        spans = attention_spans(layout, TOGETHER if self.config.decoder.sees == "clip" else APART)
        rotation, computing = self.position.rotation(layout), ComputeConfig.of(self.config)
        x = run_layers(x, self.blocks.layers(), spans, rotation, computing)
        return self.norm(x if rows is None else rows.scatter(x)[:, :length])

    def _with_classes(self, x: Array, layout: TokenLayout, classes: Array) -> tuple[Float[Array, "B S Dd"], PackedRows]:
        """The tokens with the narrowed class tokens of each clip and modality behind its own; and the rows of both."""
        own = classes[:, :, [MODALITIES.index(name) for name in self.names]].astype(x.dtype)
        batch, clips, _, count, _ = own.shape
        source = TokenPool.of(layout, clips, dict.fromkeys(self.names, x.shape[1])).with_extra(
            SpecialTokens(self.names, count)
        )
        more = self.narrow(own).reshape(batch, -1, x.shape[-1])
        rows = source.rows(self.names)
        return rows.gather(jnp.concatenate([x, more], axis=1)), rows

    def _tokens(self, encoded: Array, stream: TokenStream) -> Array:
        """Narrowed encoded tokens and mask tokens in the order of the decoder's rows."""
        hidden = sum(stream.targets[name].content.shape[1] for name in PREDICTED if name in stream.targets)
        narrow = by_tokens(self.narrow(encoded))
        masks = jnp.broadcast_to(self.mask[...].astype(narrow.dtype), (narrow.shape[0], hidden, narrow.shape[2]))
        source = jnp.concatenate([narrow, masks], axis=1)
        woven = weave(source, stream.decode.source_index, stream.decode.is_token)
        return woven + self.modality(stream.decode, woven.dtype)
