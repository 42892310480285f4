"""The multimodal transformer: embed, run the stages of fusion, tap each."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.config import Model, model_dims
from mmvideo.model.embed import Embedder
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import Stage, stages
from mmvideo.model.fusion.gather import TokenPool
from mmvideo.model.fusion.re_pair import RePaired
from mmvideo.model.fusion.routing import TokenRouting, plan_routing
from mmvideo.model.layers.drop_path import drop_path_scales, drop_rates
from mmvideo.model.layers.norm import Norm
from mmvideo.model.positions.schemes import Position
from mmvideo.model.sharding import by_tokens
from mmvideo.model.transformer.block import LayerParams
from mmvideo.model.transformer.run_layers import ComputeConfig, layer_weights, run_routed_layers
from mmvideo.model.transformer.space_encoder import SpaceEncoder, backbone_spec
from mmvideo.model.transformer.special_tokens import ExtraTokens
from mmvideo.model.transformer.stacks import layer_of, layers_of, make_stacks
from mmvideo.model.transformer.unfused_pass import AloneNorms
from mmvideo.stream import MODALITIES, StreamSpec, TokenStream


class MultimodalTransformer(nnx.Module):
    """A transformer for video, sound and text in packed rows.

    Args:
      config: size, fusion, what is shared, blocks, positions, attention, precision.
      spec: the modalities of the run, with their patches and vocabulary.
      rngs: needs the stream `params`.

    Attributes:
      deterministic: False lets clips skip branches of layers (stochastic depth), as in training.
      frozen_layers: so many of the first layers get no gradient and skip no branches.

    Raises:
      ValueError: sizes or fusion layers that don't fit each other, or a run without modalities.
    """

    def __init__(self, config: Model, spec: StreamSpec, *, rngs: nnx.Rngs):
        if not spec.modalities:
            raise ValueError("the stream has no modality: give at least one of video, audio and text")
        dims = model_dims(config)
        self.config, self.spec = config, spec
        self.stages = tuple(_of_run(stage, spec) for stage in stages(config.fusion, dims.depth))
        self.embed = Embedder(spec, dims.width, config.compute, config.audio_stem, rngs=rngs)
        factorised = config.video_encoder is not None and spec.video is not None
        self.space = SpaceEncoder(config, spec.video, rngs=rngs) if factorised else None
        seen = backbone_spec(spec) if factorised else spec
        self.position = Position(config.position, seen, dims.width, dims.head, rngs=rngs)
        fused = tuple(name for name in self.stages[-1].fused if name in spec.modalities)
        self.extra = ExtraTokens(config, spec.modalities, fused, dims.width, rngs=rngs)
        normed = tuple(name for name in spec.modalities if name in config.embedding_norm)
        self.embedding_norm = Norm(dims.width, config.block, normed, norms=bool(normed))
        self.blocks = make_stacks(config, self.stages, spec.modalities, rngs=rngs)
        self.alone = AloneNorms(config, self.stages, spec.modalities, rngs=rngs) if config.fusion.alone else None
        self.norms = nnx.Dict({stage.name: self._norm(stage) for stage in self.stages})
        self.deterministic, self.frozen_layers = False, 0
        if config.block.drop_path:
            self.drop_path = nnx.RngStream(rngs.params(), tag="drop_path")

    def __call__(self, stream: TokenStream) -> Features:
        """Features of every stage, in the compute dtype.

        Raises:
          ValueError: a stream with a modality that the model was not built for.
        """
        with jax.named_scope("embed"):
            x, source, place = self._embed_tokens(jax.tree.map(jnp.asarray, stream))
        return dataclasses.replace(self._forward_stages(x, source, self.stages), place=place)

    def resume(self, features: Features, new: RePaired, first: int) -> Features:
        """Features of the stages from number `first` on, of clips put together anew from what comes into it.

        It equals the whole model's features of such clips where nothing of one owner has met anything
        of the other before (see `re_pair.first_fused_stage`).
        """
        return self._forward_stages(*new.carry(features.entering[first], features.source), self.stages[first:])

    def attention_map(self, stream: TokenStream, layer: int) -> Float[Array, "B N L L"]:
        """The attention weights of one layer: queries on the third axis, keys on the last; float32.

        Tokens stand as in the rows of `Features.layout`. What they take of class, register and bottleneck
        tokens is left out. Needs O(L^2) memory for this layer only, whatever the backend.

        Of a modality with a number of layers of its own, that layer is meant which lies at the same share
        of them.

        Raises:
          ValueError: a layer that the model does not have.
        """
        depth = self.stages[-1].end
        if not 0 <= layer < depth:
            raise ValueError(f"layer {layer} does not exist: the model has layers 0 to {depth - 1}")
        x, source, _ = self._embed_tokens(jax.tree.map(jnp.asarray, stream))
        for stage in self.stages:
            if layer < stage.end:
                break
            x = self._run_stage(stage, x, source)
        x, staged = self._add_bottlenecks(stage, x, source)
        x = self._run_layers(stage, x, staged, layer)
        route = self.route(stage, staged, weave=True)
        xs, one = tuple(rows.gather(x) for rows in route.rows), layer_of(self.blocks, self.stages, layer)
        weights = layer_weights(xs, one, route, self.config.block)
        joint = route.woven.rows
        if joint.scatter_index is None:
            return weights
        at, real = joint.scatter_index[:, : source.tokens], source.layout.is_token[:, : source.tokens]
        weights = jnp.take_along_axis(weights, jnp.maximum(at, 0)[:, None, :, None], axis=2)
        weights = jnp.take_along_axis(weights, jnp.maximum(at, 0)[:, None, None, :], axis=3)
        return jnp.where(real[:, None, :, None] & real[:, None, None, :], weights, 0)

    def _norm(self, stage: Stage) -> Norm:
        """The norm at the end of a stage; of modalities with norms of their own, each has one."""
        own = self.spec.modalities if self._sharing(stage) in ("norms", "nothing") else ()
        return Norm(model_dims(self.config).width, self.config.block, own, None if self.config.final_norm else False)

    def _sharing(self, stage: Stage) -> str:
        return self.config.sharing.apart if stage.name == "apart" else self.config.sharing.fused

    def _forward_stages(self, x: Array, source: TokenPool, through: tuple[Stage, ...]) -> Features:
        """Features of some stages, one after the other."""
        taps, classes, entering = [], [], []
        layout = jax.tree.map(lambda field: field[:, : source.tokens], source.layout)
        kinds = jnp.arange(len(MODALITIES)).reshape(1, 1, -1, 1)
        for stage in through:
            entering.append(x)
            x, norm = self._run_stage(stage, x, source), self.norms[stage.name]
            y = self._alone(x, source) if self.alone is not None and stage.name == "apart" else x
            taps.append(norm(by_tokens(y[:, : source.tokens]), layout.modality))
            classes.append(norm(self.extra.class_tokens(y, source), kinds))
        modalities = self.spec.modalities
        return Features(tuple(taps), layout, tuple(classes), None, through, modalities, tuple(entering), source)

    def _embed_tokens(self, stream: TokenStream) -> tuple[Array, TokenPool, Array | None]:
        """The embedded tokens with their positions, class tokens and registers behind them; and `Features.place`."""
        x, layout, place, clips = self.embed(stream), stream.layout, None, stream.clips.clip_index.shape[1]
        budgets = {name: stream.content[name].shape[1] for name in MODALITIES if name in stream.content}
        if self.space is not None and "video" in budgets:
            x, rows, budgets = self.space(x, layout, clips, budgets)
            place, layout = rows.scatter_index[:, : layout.modality.shape[1]], rows.layout
        x = self.position.add(x, layout)
        x, source = self.extra.join(x, TokenPool.of(layout, clips, budgets))
        return self.embedding_norm.of_some(x, source.layout.modality), source, place

    def _run_stage(self, stage: Stage, x: Array, source: TokenPool) -> Array:
        """All layers of a stage; bottleneck tokens live within one only."""
        with jax.named_scope(stage.name):
            within, staged = self._add_bottlenecks(stage, x, source)
            return self._run_layers(stage, within, staged, stage.end)[:, : x.shape[1]]

    def _add_bottlenecks(self, stage: Stage, x: Array, source: TokenPool) -> tuple[Array, TokenPool]:
        """The tokens of a stage: where it has a bottleneck, with the copies of its tokens."""
        return self.extra.narrowed(x, source) if stage.bottlenecks else (x, source)

    def route(self, stage: Stage, source: TokenPool, weave: bool = False) -> TokenRouting:
        """How the tokens of a stage lie; `weave` as of `plan_routing`."""
        sharing = self._sharing(stage)
        cross = stage.cross and sharing in ("norms", "nothing")
        separate = cross or sharing in ("feed_forward", "nothing")
        return plan_routing(source, stage, separate, cross, self.position.rotation, weave)

    def _run_layers(self, stage: Stage, x: Array, source: TokenPool, end: int) -> Array:
        """The layers of a stage up to `end`, the frozen ones apart: the backward pass ends above them."""
        held = min(max(self.frozen_layers, stage.first), end)
        x = self._layers(dataclasses.replace(stage, end=held), x, source, frozen=True)
        return self._layers(dataclasses.replace(stage, first=held, end=end), x, source)

    def _layers(self, stage: Stage, x: Array, source: TokenPool, frozen: bool = False) -> Array:
        """The layers of a stage, or of a part of it."""
        if stage.end == stage.first:
            return x
        route, computing = self.route(stage, source), ComputeConfig.of(self.config)
        xs = tuple(rows.gather(x) for rows in route.rows)
        layers = layers_of(self.blocks, self.stages, stage.first, stage.end)
        if frozen:
            xs, layers = jax.lax.stop_gradient((xs, layers))
        if self._sharing(stage) == "nothing" and route.woven is None and not route.copies:
            # Nothing binds the modalities: each has its own loop, of its own length.
            parts = []
            for number, rows in enumerate(route.rows):
                own = {rows.modalities[0]: layers[rows.modalities[0]]}
                kept = self._kept(stage, own, source, frozen)
                parts += run_routed_layers((xs[number],), own, route.only(number), computing, kept)
        else:
            parts = run_routed_layers(xs, layers, route, computing, self._kept(stage, layers, source, frozen))
        return sum(rows.scatter(part) for rows, part in zip(route.rows, parts, strict=True))

    def _alone(self, x: Array, source: TokenPool) -> Array:
        """What the fused layers make of each modality by itself."""
        stage = self.alone.stage
        route = plan_routing(source, stage, False, False, self.position.rotation)
        layers = self.alone.layers(layers_of(self.blocks, self.stages, stage.first, stage.end))
        kept = self._kept(stage, layers, source, frozen=False)
        (rows,) = route.rows
        return rows.scatter(run_routed_layers((rows.gather(x),), layers, route, ComputeConfig.of(self.config), kept)[0])

    def _kept(
        self, stage: Stage, layers: LayerParams, source: TokenPool, frozen: bool
    ) -> Float[Array, "n 2 B E"] | None:
        """What stochastic depth leaves of every clip's branches in these layers; None: all."""
        rate, depth = self.config.block.drop_path, self.stages[-1].end
        if not rate or self.deterministic or frozen:
            return None
        rates = drop_rates(rate, stage.first, stage.end, depth, len(jax.tree.leaves(layers)[0]))
        rows, rescale = len(source.layout.modality), self.config.block.drop_path_rescale
        return drop_path_scales(self.drop_path(), rates, rows, source.clips, rescale)


def _of_run(stage: Stage, spec: StreamSpec) -> Stage:
    """The stage in a run: without a bottleneck if none of those who meet there is in it."""
    return stage if set(stage.fused) & set(spec.modalities) else dataclasses.replace(stage, bottlenecks=0)
