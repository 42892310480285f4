"""How the tokens of many short groups lie that don't see each other: the steps of video in a row.

They may stand one behind the other, each seeing the span of its own step: compact, but plain attention weighs
every token against the whole row. Or every step has a row of its own, as long as the largest: no weight is in
vain, but the places of absent steps and tokens are. What takes less is taken: the latter for whole clips, the
former for rows with room for many more clips than they hold, or with dropped tokens.

Letters: `S` steps of a row, `W` places of a row.
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
      rows: where they stand; the clips of the layout are the steps.
      cuts: into how many rows each row is cut to run through layers: one, or one for every step.
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
        """Runs layers over the tokens; the last of the arguments are as of `run_routed_layers`."""
        layout = jax.tree.map(self._cut, self.rows.layout)
        if self.cuts > 1:
            layout = dataclasses.replace(layout, clip=jnp.where(layout.is_token, 0, PADDING))
            kept = None if kept is None else kept.reshape(*kept.shape[:2], -1, 1)
        rows, spans = PackedRows(layout, None, None, VIDEO), attention_spans(layout, APART)
        route = TokenRouting((rows,), (spans,), (rotate(layout),), whole=(self.cuts > 1,))
        return run_routed_layers((self._cut(x),), layers, route, computing, kept)[0].reshape(x.shape)

    def _cut(self, field: Shaped[Array, "B W *rest"]) -> Shaped[Array, "b w *rest"]:
        return field.reshape(field.shape[0] * self.cuts, field.shape[1] // self.cuts, *field.shape[2:])


def arrange_steps(source: TokenPool, length: int, cells: int, dims: ModelDims) -> StepRows:
    """The rows of the tokens of all steps.

    Args:
      source: video only; its clips are the steps.
      length: the most tokens that a row has.
      cells: the most tokens of a step.
      dims: of the layers; they decide what takes less.
    """
    rows, steps = sort_rows(source.layout, VIDEO, length), source.clips
    if layer_products(steps * cells, cells, dims) <= layer_products(length, length, dims):
        return StepRows(_spread(rows, steps, cells), steps)
    return StepRows(rows, 1)


def layer_products(tokens: int, keys: int, dims: ModelDims) -> int:
    """Multiply-adds of a layer over so many tokens, each weighed against so many keys."""
    width = dims.width
    return tokens * (4 * width * width + 2 * width * dims.feed_forward + 2 * width * keys)


def _spread(rows: PackedRows, steps: int, cells: int) -> PackedRows:
    """Compact rows brought to `[steps * cells]` places, each step at the first of its own."""
    size = (rows.layout.clip[:, None] == jnp.arange(steps)[:, None]).sum(axis=-1)
    first = jnp.cumsum(size, axis=1) - size
    place, step = jnp.arange(cells), rows.layout.clip
    taken = jnp.where(place < size[..., None], first[..., None] + place, PADDING).reshape(len(size), -1)
    moved = step * cells + jnp.arange(step.shape[1]) - jnp.take_along_axis(first, jnp.maximum(step, 0), axis=1)
    layout, real = take_tokens(rows.layout, jnp.maximum(taken, 0)), taken != PADDING
    layout = dataclasses.replace(
        layout, modality=jnp.where(real, layout.modality, PADDING), clip=jnp.where(real, layout.clip, PADDING)
    )
    return PackedRows(
        layout, take_or_padding(rows.gather_index, taken), take_or_padding(moved, rows.scatter_index), VIDEO
    )
