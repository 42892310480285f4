"""Rows of many short groups of tokens that don't attend to each other: the steps of video in a row.

There are two arrangements. In a compact row each token has the span of its own step; plain attention then scores every
token against the whole row. Or each step has a row of its own, as long as the largest step: no score is wasted, but
absent steps and tokens leave padding. `arrange_steps` chooses the arrangement with fewer products. That is one row per
step for whole clips, and the compact row for rows with many empty clip slots or with dropped tokens.

Letters: `S` steps of a row, `W` tokens of a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from mmvideo.model.config import ModelDims
from mmvideo.model.fusion.fusion_stages import APART
from mmvideo.model.fusion.gather import PackedRows, TokenPool, sort_rows
from mmvideo.model.fusion.routing import TokenRouting, take_or_padding
from mmvideo.model.fusion.sorting import take_tokens
from mmvideo.model.positions.schemes import Rotation
from mmvideo.model.transformer.block import LayerParams
from mmvideo.model.transformer.run_layers import ComputeConfig, run_routed_layers
from mmvideo.stream import PADDING, TokenLayout, attention_spans

VIDEO = ("video",)


@dataclasses.dataclass(frozen=True)
class StepRows:
    """The tokens of steps.

    Attributes:
      rows: rows of the tokens; the clips of the layout are the steps.
      cuts: number of rows into which each row is cut for the layers: 1, or the number of steps.
    """

    rows: PackedRows
    cuts: int

    def run(
        self,
        x: Float[Array, "B W D"],
        layers: LayerParams,
        rotate: Callable[[TokenLayout], Rotation | None],
        computing: ComputeConfig,
        kept: Float[Array, "depth 2 B S"] | None,
    ) -> Float[Array, "B W D"]:
        """Run layers over the tokens; the last arguments are as for `run_routed_layers`."""
        layout = jax.tree.map(self._cut, self.rows.layout)
        if self.cuts > 1:
            # A cut row holds one step. Its tokens become clip 0, and a step's drop-path factors become a row's.
            layout = dataclasses.replace(layout, clip=jnp.where(layout.is_token, 0, PADDING))
            kept = None if kept is None else kept.reshape(*kept.shape[:2], -1, 1)
        rows = PackedRows(layout, None, None, VIDEO)
        spans = attention_spans(layout, APART)
        route = TokenRouting((rows,), (spans,), (rotate(layout),), whole=(self.cuts > 1,))
        return run_routed_layers((self._cut(x),), layers, route, computing, kept)[0].reshape(x.shape)

    def _cut(self, field: Shaped[Array, "B W *rest"]) -> Shaped[Array, "b w *rest"]:
        return field.reshape(field.shape[0] * self.cuts, field.shape[1] // self.cuts, *field.shape[2:])


def arrange_steps(source: TokenPool, length: int, cells: int, dims: ModelDims) -> StepRows:
    """Return the rows of the tokens of all steps.

    Args:
      source: pool of video only; its clips are the steps.
      length: the most tokens that a row has.
      cells: the most tokens of a step.
      dims: dimensions of the layers, which decide the cheaper arrangement.
    """
    rows = sort_rows(source.layout, VIDEO, length)
    steps = source.clips
    # Example: one clip of 8 steps of 196 cells, none dropped: 1568 tokens either way, against 196 keys each instead of
    # 1568. With 4 clip slots of which one is filled, a row per step would have 6272 tokens, three quarters of padding.
    if layer_products(steps * cells, cells, dims) <= layer_products(length, length, dims):
        return StepRows(_spread(rows, steps, cells), steps)
    return StepRows(rows, 1)


def layer_products(tokens: int, keys: int, dims: ModelDims) -> int:
    """Return the multiply-adds of a layer over a number of tokens, each with a number of keys."""
    # Per token: projections to query, key, value and output (4 D^2), the two matrices of the feed-forward (2 D F), and
    # the scores and the weighted sum (D per key each).
    width = dims.width
    return tokens * (4 * width * width + 2 * width * dims.feed_forward + 2 * width * keys)


def _spread(rows: PackedRows, steps: int, cells: int) -> PackedRows:
    """Spread compact rows to `[steps * cells]` tokens; step `s` begins at index `s * cells`."""
    # Example: steps [0 0 1 1 1 2] of sizes [2 3 1], first tokens [0 2 5], 3 cells each:
    #   from_compact  0 1 - | 2 3 4 | 5 - -
    #   to_spread     0 1 3 4 5 6              token 2 is the first of step 1, which begins at 1 * 3
    step = rows.layout.clip
    size = (step[:, None] == jnp.arange(steps)[:, None]).sum(axis=-1)
    first = jnp.cumsum(size, axis=1) - size
    cell = jnp.arange(cells)
    from_compact = jnp.where(cell < size[..., None], first[..., None] + cell, PADDING).reshape(len(size), -1)
    to_spread = step * cells + jnp.arange(step.shape[1]) - jnp.take_along_axis(first, jnp.maximum(step, 0), axis=1)
    layout = take_tokens(rows.layout, jnp.maximum(from_compact, 0))
    real = from_compact != PADDING
    layout = dataclasses.replace(
        layout, modality=jnp.where(real, layout.modality, PADDING), clip=jnp.where(real, layout.clip, PADDING)
    )
    return PackedRows(
        layout,
        take_or_padding(rows.gather_index, from_compact),
        take_or_padding(to_spread, rows.scatter_index),
        VIDEO,
    )
