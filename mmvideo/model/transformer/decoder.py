"""The light decoder of masked prediction, from encoded and hidden tokens to features for prediction."""

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
      config: the model; `config.decoder` gives depth, width, heads and the range of attention.
      spec: the modalities of the run.

    Raises:
      ValueError: the decoder needs class tokens, and the backbone has none.
    """

    def __init__(self, config: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        dims = decoder_dims(config)
        if config.decoder.class_tokens and not config.class_tokens:
            raise ValueError("model.decoder.class_tokens needs the backbone's: set model.class_tokens to 1 or more")
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
        """Return tokens in the rows of `stream.decode`, after the final norm, in the compute dtype.

        Args:
          encoded: features in the rows of `stream.layout`.
          stream: a stream with hidden content, so that it has `decode` and `targets`.
          classes: the class tokens of the backbone; needed with `decoder.class_tokens`.

        Raises:
          ValueError: a stream without hidden content.
        """
        if stream.decode is None:
            raise ValueError("nothing to decode: the stream hides nothing (input.masking is off for video and audio)")
        stream = jax.tree.map(jnp.asarray, stream)
        layout = stream.decode
        x = self._tokens(encoded.astype(self.config.compute), stream)
        x = jnp.where(layout.is_token[..., None], self.position.add(x, layout), 0)
        rows = None
        length = x.shape[1]
        if self.config.decoder.class_tokens:
            x, rows = self._with_classes(x, layout, classes)
            layout = rows.layout
        spans = attention_spans(layout, TOGETHER if self.config.decoder.sees == "clip" else APART)
        rotation = self.position.rotation(layout)
        computing = ComputeConfig.of(self.config)
        x = run_layers(x, self.blocks.layers(), spans, rotation, computing)
        return self.norm(x if rows is None else rows.scatter(x)[:, :length])

    def _with_classes(self, x: Array, layout: TokenLayout, classes: Array) -> tuple[Float[Array, "B S Dd"], PackedRows]:
        """Append narrowed class tokens to the tokens of each clip and modality; return tokens and rows."""
        own = classes[:, :, [MODALITIES.index(name) for name in self.names]].astype(x.dtype)
        batch, clips, _, count, _ = own.shape
        source = TokenPool.of(layout, clips, dict.fromkeys(self.names, x.shape[1])).with_extra(
            SpecialTokens(self.names, count)
        )
        more = self.narrow(own).reshape(batch, -1, x.shape[-1])
        rows = source.rows(self.names)
        return rows.gather(jnp.concatenate([x, more], axis=1)), rows

    def _tokens(self, encoded: Array, stream: TokenStream) -> Array:
        """Return narrowed encoded tokens and mask tokens in the order of the decoder's rows."""
        # The source of `stream.decode` is [L encoded | hidden video | hidden audio]. With L = 4, source_index 5 is the
        # second hidden patch. All mask tokens are equal; modality embedding and position tell them apart.
        hidden = sum(stream.targets[name].content.shape[1] for name in PREDICTED if name in stream.targets)
        narrow = by_tokens(self.narrow(encoded))
        masks = jnp.broadcast_to(self.mask[...].astype(narrow.dtype), (narrow.shape[0], hidden, narrow.shape[2]))
        source = jnp.concatenate([narrow, masks], axis=1)
        woven = weave(source, stream.decode.source_index, stream.decode.is_token)
        return woven + self.modality(stream.decode, woven.dtype)
