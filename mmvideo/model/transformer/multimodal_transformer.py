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
    """A transformer for video, audio and text in packed rows.

    Args:
      config: size, fusion, sharing, blocks, positions, attention, precision.
      spec: the modalities of the run, with their patches and vocabulary.
      rngs: needs the stream `params`.

    Attributes:
      deterministic: False lets clips skip branches of layers (stochastic depth), as in training.
      frozen_layers: number of first layers that get no gradient and skip no branches.

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
        """Return the features of every stage, in the compute dtype.

        Raises:
          ValueError: a stream with a modality that the model was not built for.
        """
        with jax.named_scope("embed"):
            x, source, place = self._embed_tokens(jax.tree.map(jnp.asarray, stream))
        return dataclasses.replace(self._forward_stages(x, source, self.stages), place=place)

    def resume(self, features: Features, new: RePaired, first: int) -> Features:
        """Return the features of the stages from index `first` on, for clips re-paired at the start of that stage.

        They equal the whole model's features of such clips if no modality of one owner has met a modality of the other
        before (see `re_pair.first_fused_stage`).
        """
        return self._forward_stages(*new.carry(features.entering[first], features.source), self.stages[first:])

    def attention_map(self, stream: TokenStream, layer: int) -> Float[Array, "B N L L"]:
        """Return the attention weights of one layer: queries on the third axis, keys on the last; float32.

        Tokens are in the rows of `Features.layout`. Weights on class, register and bottleneck tokens are left out. The
        call needs O(L^2) memory for this layer, whatever the backend.

        For a modality with its own number of layers, it is the layer at the same fraction of its depth.

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
        xs = tuple(rows.gather(x) for rows in route.rows)
        one = layer_of(self.blocks, self.stages, layer)
        weights = layer_weights(xs, one, route, self.config.block)
        joint = route.woven.rows
        if joint.scatter_index is None:
            return weights
        # From the interleaved row to the stream's row: both axes of the weights are permuted. Extra tokens have the
        # indices from `source.tokens` on, so they are left out. Example: scatter_index [0, 2, 1] swaps queries 1 and 2,
        # and keys 1 and 2.
        at = joint.scatter_index[:, : source.tokens]
        real = source.layout.is_token[:, : source.tokens]
        weights = jnp.take_along_axis(weights, jnp.maximum(at, 0)[:, None, :, None], axis=2)
        weights = jnp.take_along_axis(weights, jnp.maximum(at, 0)[:, None, None, :], axis=3)
        return jnp.where(real[:, None, :, None] & real[:, None, None, :], weights, 0)

    def _norm(self, stage: Stage) -> Norm:
        """Build the norm at the end of a stage, one for each modality if the modalities own their norms."""
        own = self.spec.modalities if self._sharing(stage) in ("norms", "nothing") else ()
        return Norm(model_dims(self.config).width, self.config.block, own, None if self.config.final_norm else False)

    def _sharing(self, stage: Stage) -> str:
        return self.config.sharing.apart if stage.name == "apart" else self.config.sharing.fused

    def _forward_stages(self, x: Array, source: TokenPool, through: tuple[Stage, ...]) -> Features:
        """Return the features of some stages, run in sequence."""
        taps, classes, entering = [], [], []
        layout = jax.tree.map(lambda field: field[:, : source.tokens], source.layout)
        kinds = jnp.arange(len(MODALITIES)).reshape(1, 1, -1, 1)
        for stage in through:
            # `resume` starts from the tokens before the stage.
            entering.append(x)
            x = self._run_stage(stage, x, source)
            norm = self.norms[stage.name]
            y = self._alone(x, source) if self.alone is not None and stage.name == "apart" else x
            taps.append(norm(by_tokens(y[:, : source.tokens]), layout.modality))
            classes.append(norm(self.extra.class_tokens(y, source), kinds))
        modalities = self.spec.modalities
        return Features(tuple(taps), layout, tuple(classes), None, through, modalities, tuple(entering), source)

    def _embed_tokens(self, stream: TokenStream) -> tuple[Array, TokenPool, Array | None]:
        """Return the embedded tokens with positions, class tokens and registers; their pool; and `Features.place`."""
        x = self.embed(stream)
        layout = stream.layout
        place = None
        clips = stream.clips.clip_index.shape[1]
        budgets = {name: stream.content[name].shape[1] for name in MODALITIES if name in stream.content}
        if self.space is not None and "video" in budgets:
            x, rows, budgets = self.space(x, layout, clips, budgets)
            # The pool of these rows is [stream's row | steps]. Its first L entries are the stream's tokens, of which
            # video tokens are `PADDING`: the steps replace them.
            place = rows.scatter_index[:, : layout.modality.shape[1]]
            layout = rows.layout
        x = self.position.add(x, layout)
        x, source = self.extra.join(x, TokenPool.of(layout, clips, budgets))
        return self.embedding_norm.of_some(x, source.layout.modality), source, place

    def _run_stage(self, stage: Stage, x: Array, source: TokenPool) -> Array:
        """Run all layers of a stage; bottleneck tokens exist within one stage only."""
        with jax.named_scope(stage.name):
            # Bottleneck tokens are last in the pool, so the slice drops them.
            within, staged = self._add_bottlenecks(stage, x, source)
            return self._run_layers(stage, within, staged, stage.end)[:, : x.shape[1]]

    def _add_bottlenecks(self, stage: Stage, x: Array, source: TokenPool) -> tuple[Array, TokenPool]:
        """Return the tokens of a stage, with the copies of bottleneck tokens if it has some."""
        return self.extra.narrowed(x, source) if stage.bottlenecks else (x, source)

    def route(self, stage: Stage, source: TokenPool, weave: bool = False) -> TokenRouting:
        """Return the routing of the tokens of a stage; `weave` as for `plan_routing`."""
        # Modalities that share their feed-forward can be in one row; else each needs a row of its own, for its own
        # matrices. Cross attention differs from `mid` only where keys and values depend on the modality's weights.
        sharing = self._sharing(stage)
        cross = stage.cross and sharing in ("norms", "nothing")
        separate = cross or sharing in ("feed_forward", "nothing")
        return plan_routing(source, stage, separate, cross, self.position.rotation, weave)

    def _run_layers(self, stage: Stage, x: Array, source: TokenPool, end: int) -> Array:
        """Run the layers of a stage up to `end`, the frozen ones separately: the backward pass ends above them."""
        # Example: stage [4, 8) with 6 frozen layers: layers 4 and 5 run without gradient, 6 and 7 with. With 3 frozen
        # layers `held` is 4 and none is frozen here, with 10 it is 8 and all are.
        held = min(max(self.frozen_layers, stage.first), end)
        x = self._layers(dataclasses.replace(stage, end=held), x, source, frozen=True)
        return self._layers(dataclasses.replace(stage, first=held, end=end), x, source)

    def _layers(self, stage: Stage, x: Array, source: TokenPool, frozen: bool = False) -> Array:
        """Run the layers of a stage, or of a part of it."""
        if stage.end == stage.first:
            return x
        route = self.route(stage, source)
        computing = ComputeConfig.of(self.config)
        xs = tuple(rows.gather(x) for rows in route.rows)
        layers = layers_of(self.blocks, self.stages, stage.first, stage.end)
        if frozen:
            xs, layers = jax.lax.stop_gradient((xs, layers))
        if self._sharing(stage) == "nothing" and route.woven is None and not route.copies:
            # The modalities share and exchange nothing: each has its own loop over its own number of layers.
            parts = []
            for number, rows in enumerate(route.rows):
                own = {rows.modalities[0]: layers[rows.modalities[0]]}
                kept = self._kept(stage, own, source, frozen)
                parts += run_routed_layers((xs[number],), own, route.only(number), computing, kept)
        else:
            parts = run_routed_layers(xs, layers, route, computing, self._kept(stage, layers, source, frozen))
        # Each token is in exactly one row, and `scatter` fills the rest with zeros: the sum joins the rows.
        return sum(rows.scatter(part) for rows, part in zip(route.rows, parts, strict=True))

    def _alone(self, x: Array, source: TokenPool) -> Array:
        """Return the tokens after the fused layers, applied to each modality alone."""
        stage = self.alone.stage
        route = plan_routing(source, stage, False, False, self.position.rotation)
        layers = self.alone.layers(layers_of(self.blocks, self.stages, stage.first, stage.end))
        kept = self._kept(stage, layers, source, frozen=False)
        (rows,) = route.rows
        return rows.scatter(run_routed_layers((rows.gather(x),), layers, route, ComputeConfig.of(self.config), kept)[0])

    def _kept(
        self, stage: Stage, layers: LayerParams, source: TokenPool, frozen: bool
    ) -> Float[Array, "n 2 B E"] | None:
        """Return the factors of stochastic depth for every clip's branches in these layers; None: all are 1."""
        rate, depth = self.config.block.drop_path, self.stages[-1].end
        if not rate or self.deterministic or frozen:
            return None
        # The leaves may have another number of layers than the stage: those of a modality with its own depth.
        rates = drop_rates(rate, stage.first, stage.end, depth, len(jax.tree.leaves(layers)[0]))
        rows = len(source.layout.modality)
        rescale = self.config.block.drop_path_rescale
        return drop_path_scales(self.drop_path(), rates, rows, source.clips, rescale)


def _of_run(stage: Stage, spec: StreamSpec) -> Stage:
    """Return the stage for a run, without a bottleneck if the run has none of its modalities."""
    return stage if set(stage.fused) & set(spec.modalities) else dataclasses.replace(stage, bottlenecks=0)
