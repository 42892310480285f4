"""The multimodal transformer: embed, run the stages of fusion, tap each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.block import Blocks, Computing, layer_weights, run_layers
from mmvideo.model.config import Model, dimensions
from mmvideo.model.embed import Embedder
from mmvideo.model.features import Features
from mmvideo.model.fusion import Stage, stages
from mmvideo.model.layers import layer_norm, parameter
from mmvideo.model.position import Position
from mmvideo.stream import StreamSpec, TokenStream, group_spans


class MultimodalTransformer(nnx.Module):
    """One pre-norm transformer for video, sound and text in packed rows.

    Args:
      config: size, fusion, positions, attention, precision.
      spec: the modalities of the run, with their patches and vocabulary.
      rngs: needs the stream `params`.

    Raises:
      ValueError: sizes or fusion layers that don't fit each other, or a run without modalities.
    """

    def __init__(self, config: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        if not spec.modalities:
            raise ValueError("the stream has no modality: give at least one of video, audio and text")
        numbers = dimensions(config)
        self.config, self.spec = config, spec
        self.stages = stages(config.fusion, numbers.depth)
        self.embed = Embedder(spec, numbers.width, config.compute, rngs=rngs)
        self.position = Position(config.position, spec, numbers.width, numbers.head, rngs=rngs)
        self.blocks = Blocks(numbers, rngs=rngs)
        shape = (len(self.stages), numbers.width)
        self.tap_scale = parameter(jnp.ones(shape), "layers", "norm")
        self.tap_bias = parameter(jnp.zeros(shape), "layers", "norm")

    def __call__(self, stream: TokenStream) -> Features:
        """Features of every stage, in the compute dtype.

        Raises:
          ValueError: a stream with a modality that the model was not built for.
        """
        stream = jax.tree.map(jnp.asarray, stream)
        x, rotation = self._start(stream)
        taps = []
        for number, stage in enumerate(self.stages):
            x = self._run(x, stream, rotation, stage, stage.end)
            taps.append(layer_norm(x, self.tap_scale[number], self.tap_bias[number]))
        none = jnp.zeros((*stream.clips.present.shape, 0, x.shape[-1]), x.dtype)
        return Features(tuple(taps), stream.layout, (none,) * len(taps), None, self.stages, self.spec.modalities)

    def attention_map(self, stream: TokenStream, layer: int) -> Float[Array, "B N L L"]:
        """The attention weights of one layer: queries on the third axis, keys on the last; float32.

        Needs O(L^2) memory for this layer only, whatever the backend.

        Raises:
          ValueError: a layer that the model does not have.
        """
        depth = self.stages[-1].end
        if not 0 <= layer < depth:
            raise ValueError(f"layer {layer} does not exist: the model has layers 0 to {depth - 1}")
        stream = jax.tree.map(jnp.asarray, stream)
        x, rotation = self._start(stream)
        for stage in self.stages:
            if layer < stage.end:
                break
            x = self._run(x, stream, rotation, stage, stage.end)
        x = self._run(x, stream, rotation, stage, layer)
        one = {name: value[0] for name, value in self.blocks.layers(layer, layer + 1).items()}
        return layer_weights(x, one, group_spans(stream.layout, stage.groups, stage.causal), rotation)

    def _start(self, stream: TokenStream) -> tuple[Array, tuple[Array, Array] | None]:
        """The embedded tokens with what their positions add, and how queries and keys turn."""
        tokens = self.embed(stream)
        return self.position.add(tokens, stream.layout), self.position.rotation(stream.layout)

    def _run(self, x: Array, stream: TokenStream, rotation: tuple | None, stage: Stage, end: int) -> Array:
        """The layers of a stage up to `end`."""
        if end == stage.first:
            return x
        spans = group_spans(stream.layout, stage.groups, stage.causal)
        return run_layers(x, self.blocks.layers(stage.first, end), spans, rotation, Computing.of(self.config))
