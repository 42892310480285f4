"""Which stack holds the layers of a stage.

As long as sharing is the same everywhere, all layers are one stack, whatever the fusion: weights learned with one
scheme fit every other. Where modalities share less or more once they have met, or differ in depth before,
there is a stack of each: `apart` and `fused`.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array

from mmvideo.model.config import Model, dimensions
from mmvideo.model.fusion.stages import Stage
from mmvideo.model.transformer.block import Blocks, Layer


def make_stacks(config: Model, stages: tuple[Stage, ...], owners: tuple[str, ...], *, rngs: nnx.Rngs) -> nnx.Module:
    """The layers of all stages: a `Blocks`, or an `nnx.Dict` of two.

    Args:
      config: the model.
      stages: its stages.
      owners: the modalities of the run, who own what is not shared.
    """
    numbers, block, sharing = dimensions(config), config.block, config.sharing
    if sharing.apart == sharing.fused and not config.depths:
        return Blocks(numbers, block, None, sharing.apart, owners, rngs=rngs)
    meet, made = _meet(stages), {}
    if meet:
        made["apart"] = Blocks(numbers, block, meet, sharing.apart, owners, config.depths, rngs=rngs)
    if meet < numbers.depth:
        made["fused"] = Blocks(numbers, block, numbers.depth - meet, sharing.fused, owners, rngs=rngs)
    return nnx.Dict(made)


def layers_of(stacks: nnx.Module, stages: tuple[Stage, ...], first: int, end: int) -> Layer:
    """The weights of layers `first` to `end - 1`, which lie in one stage.

    A modality with another number of layers gives those in the same part of its own.
    """
    stack, start, count = _stack(stacks, stages, first)

    def cut(weights: Array) -> Array:
        return weights[_own(first - start, weights, count) : _own(end - start, weights, count)]

    return jax.tree.map(cut, stack.layers())


def layer_of(stacks: nnx.Module, stages: tuple[Stage, ...], layer: int) -> Layer:
    """The weights of one layer; of a modality with another number of them, the one at the same share."""
    stack, start, count = _stack(stacks, stages, layer)
    return jax.tree.map(lambda weights: weights[_own(layer - start, weights, count)], stack.layers())


def _own(layer: int, weights: Array, count: int) -> int:
    """Number of a layer among those of some weights, where others have `count`."""
    return layer * len(weights) // count


def _stack(stacks: nnx.Module, stages: tuple[Stage, ...], layer: int) -> tuple[Blocks, int, int]:
    """The stack that holds a layer, the first of its layers, and their number."""
    meet, depth = _meet(stages), stages[-1].end
    if isinstance(stacks, Blocks):
        return stacks, 0, depth
    return (stacks["apart"], 0, meet) if layer < meet else (stacks["fused"], meet, depth - meet)


def _meet(stages: tuple[Stage, ...]) -> int:
    """The first layer in which some modalities have met."""
    return stages[0].end if stages[0].name == "apart" else 0
