"""Factorised video: a space encoder within each tubelet step, then one token per step (ViViT, model 2).

In the space encoder a token attends to the tokens of its own step of its own clip. The backbone is the temporal encoder
(Arnab et al. 2021, section 3.3). Positions are split likewise: the space encoder has those in space, the backbone those
in time.

Letters: `S` steps of a row, a slot for each step of every clip; `W` tokens of a row of the space encoder.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.config import Model, model_dims
from mmvideo.model.fusion.gather import PackedRows, SpecialTokens, TokenPool, sort_rows
from mmvideo.model.fusion.sorting import join_rows
from mmvideo.model.layers.basic import normal, parameter
from mmvideo.model.layers.drop_path import drop_path_scales, drop_rates
from mmvideo.model.layers.norm import Norm
from mmvideo.model.pool import pool
from mmvideo.model.positions.schemes import Position
from mmvideo.model.transformer.block import TransformerStack
from mmvideo.model.transformer.run_layers import ComputeConfig
from mmvideo.model.transformer.step_groups import VIDEO, arrange_steps
from mmvideo.stream import PADDING, Modality, PatchSpec, StreamSpec, TokenLayout


class SpaceEncoder(nnx.Module):
    """Layers within a tubelet step, the norm after them, and the pooling of a step to one token.

    Args:
      config: the model; its `video_encoder` gives depth and pooling; width, heads and blocks are the model's.
      spec: the patches of the video.

    Attributes:
      deterministic: False lets steps skip branches of layers (stochastic depth), as in training.

    Raises:
      ValueError: a depth below 1.
    """

    def __init__(self, config: Model, spec: PatchSpec, *, rngs: nnx.Rngs):
        depth = config.video_encoder.depth
        if depth < 1:
            raise ValueError(f"model.video_encoder.depth is {depth}: it must be 1 or more")
        self.dims = dims = dataclasses.replace(model_dims(config), depth=depth)
        self.config, self.grid = config, spec.grid
        space = StreamSpec(video=dataclasses.replace(spec, grid=(1, *spec.grid[1:])))
        self.position = Position(config.position, space, dims.width, dims.head, rngs=rngs)
        self.blocks = TransformerStack(dims, config.block, rngs=rngs)
        self.norm = Norm(dims.width, config.block)
        self.deterministic = False
        if config.video_encoder.pooling == "class":
            self.class_token = parameter(normal(rngs, (1, 1, dims.width)), None, "place", "embed")
        if config.block.drop_path:
            self.drop_path = nnx.RngStream(rngs.params(), tag="drop_path")

    def __call__(
        self, x: Float[Array, "B L D"], layout: TokenLayout, clips: int, budgets: dict[str, int]
    ) -> tuple[Float[Array, "B K D"], PackedRows, dict[str, int]]:
        """Return rows in which each step of video is one token.

        Args:
          x: the embedded tokens of the stream's rows, without positions.
          layout: layout of these rows.
          clips: clip slots of a row, `E`.
          budgets: the most tokens that a row has of each modality, in the order of `MODALITIES`.

        Returns:
          The tokens of all modalities; their rows, whose pool is the stream's row followed by the steps; and the
          budgets of these rows.
        """
        # Example: 8 steps in the grid: step 3 of clip 2 has slot 2 * 8 + 3 = 19.
        step = layout.clip * self.grid[0] + layout.grid[..., 0]
        step = jnp.where(layout.modality == Modality.VIDEO, step, PADDING)
        count = clips * self.grid[0]
        pooled, present = self._pooled(x, _by_step(layout, step), count, budgets["video"])
        budgets = budgets | {"video": min(budgets["video"], count)}
        # The pool is [tokens of other modalities, with padding for video | one token per step]; sorting makes it
        # compact.
        others = dataclasses.replace(layout, modality=jnp.where(step == PADDING, layout.modality, PADDING))
        both = join_rows(others, self._steps_layout(layout, step, present))
        rows = sort_rows(both, tuple(budgets), min(x.shape[1], sum(budgets.values())))
        return rows.gather(jnp.concatenate([x, pooled], axis=1)), rows, budgets

    def _pooled(
        self, x: Array, layout: TokenLayout, count: int, budget: int
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
        """Return the token of each step, and the mask of the steps that a row has."""
        x = self.position.add(x, layout)
        source = TokenPool.of(layout, count, {"video": budget})
        with_class = self.config.video_encoder.pooling == "class"
        if with_class:
            source = source.with_extra(SpecialTokens(VIDEO, 1))
            own = jnp.broadcast_to(self.class_token[...].astype(x.dtype), (len(x), count, x.shape[-1]))
            x = jnp.concatenate([x, own], axis=1)
        # With a class token per step, a step has one token more, and a row one more per step that it can hold.
        cells = self.grid[1] * self.grid[2] + with_class
        steps = arrange_steps(source, budget + with_class * min(count, budget), cells, self.dims)
        rows = steps.rows
        computing = ComputeConfig.of(self.config)
        kept = self._kept(len(x), count)
        y = self.norm(steps.run(rows.gather(x), self.blocks.layers(), self.position.rotation, computing, kept))
        mean, present = pool(y, rows.layout, VIDEO, count)
        return (rows.scatter(y)[:, source.tokens :] if with_class else mean.astype(x.dtype)), present

    def _kept(self, batch: int, count: int) -> Float[Array, "depth 2 B S"] | None:
        """Return the factors of stochastic depth for every step's branches; None: all are 1."""
        rate, depth = self.config.block.drop_path, self.dims.depth
        if not rate or self.deterministic:
            return None
        rates = drop_rates(rate, 0, depth, depth)
        rescale = self.config.block.drop_path_rescale
        return drop_path_scales(self.drop_path(), rates, batch, count, rescale)

    def _steps_layout(self, layout: TokenLayout, step: Int[Array, "B L"], present: Bool[Array, "B S"]) -> TokenLayout:
        """Return the layout of the steps; each has the time of its tokens."""
        slots = jnp.arange(present.shape[1], dtype=jnp.int32)
        first = jnp.argmax(step[:, None] == slots[:, None], axis=-1)
        zero = jnp.zeros_like(first, jnp.int32)
        return TokenLayout(
            source_index=zero,
            modality=jnp.where(present, jnp.int32(Modality.VIDEO), PADDING),
            clip=jnp.where(present, slots // self.grid[0], PADDING),
            time=jnp.where(present, jnp.take_along_axis(layout.time, first, axis=1), 0),
            grid=jnp.stack([jnp.where(present, slots % self.grid[0], 0), zero, zero], axis=-1),
        )


def backbone_spec(spec: StreamSpec) -> StreamSpec:
    """Return the spec of the rows that enter a backbone after a space encoder: video has one token per step."""
    return dataclasses.replace(spec, video=dataclasses.replace(spec.video, grid=(spec.video.grid[0], 1, 1)))


def _by_step(layout: TokenLayout, step: Int[Array, "B L"]) -> TokenLayout:
    """Return the layout of the video alone, in which every step is a clip that begins at time 0."""
    return dataclasses.replace(
        layout,
        modality=jnp.where(step != PADDING, layout.modality, PADDING),
        clip=step,
        time=jnp.zeros_like(layout.time),
        grid=layout.grid * jnp.array([0, 1, 1], layout.grid.dtype),
    )
