"""Which stack holds the layers of a stage.

As long as sharing is the same everywhere, all layers are one stack, whatever the fusion: weights learned with one
scheme fit every other. Where modalities share less or more once they have met, or differ in depth before,
there is a stack of each: `apart` and `fused`.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array

from mmvideo.model.config import Model, model_dims
from mmvideo.model.fusion.fusion_stages import Stage
from mmvideo.model.transformer.block import LayerParams, TransformerStack


def make_stacks(config: Model, stages: tuple[Stage, ...], owners: tuple[str, ...], *, rngs: nnx.Rngs) -> nnx.Module:
    """The layers of all stages: a `TransformerStack`, or an `nnx.Dict` of two.

    Args:
      config: the model.
      stages: its stages.
      owners: the modalities of the run, who own what is not shared.
    """
    dims, block, sharing = model_dims(config), config.block, config.sharing
    if sharing.apart == sharing.fused and not config.depths:
        return TransformerStack(dims, block, None, sharing.apart, owners, rngs=rngs)
    meet, made = _meet(stages), {}
    if meet:
        made["apart"] = TransformerStack(dims, block, meet, sharing.apart, owners, config.depths, rngs=rngs)
    if meet < dims.depth:
        made["fused"] = TransformerStack(dims, block, dims.depth - meet, sharing.fused, owners, rngs=rngs)
    return nnx.Dict(made)


def layers_of(stacks: nnx.Module, stages: tuple[Stage, ...], first: int, end: int) -> LayerParams:
    """The weights of layers `first` to `end - 1`, which lie in one stage.

    A modality with another number of layers gives those in the same part of its own.
    """
    stack, start, count = _stack(stacks, stages, first)

    def cut(weights: Array) -> Array:
        return weights[_own(first - start, weights, count) : _own(end - start, weights, count)]

    return jax.tree.map(cut, stack.layers())


def layer_of(stacks: nnx.Module, stages: tuple[Stage, ...], layer: int) -> LayerParams:
    """The weights of one layer; of a modality with another number of them, the one at the same share."""
    stack, start, count = _stack(stacks, stages, layer)
    return jax.tree.map(lambda weights: weights[_own(layer - start, weights, count)], stack.layers())


def _own(layer: int, weights: Array, count: int) -> int:
    """Number of a layer among those of some weights, where others have `count`."""
    return layer * len(weights) // count


def _stack(stacks: nnx.Module, stages: tuple[Stage, ...], layer: int) -> tuple[TransformerStack, int, int]:
    """The stack that holds a layer, the first of its layers, and their number."""
    meet, depth = _meet(stages), stages[-1].end
    if isinstance(stacks, TransformerStack):
        return stacks, 0, depth
    return (stacks["apart"], 0, meet) if layer < meet else (stacks["fused"], meet, depth - meet)


def _meet(stages: tuple[Stage, ...]) -> int:
    """The first layer in which some modalities have met."""
    return stages[0].end if stages[0].name == "apart" else 0
