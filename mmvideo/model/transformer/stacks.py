"""The stacks of layers of a model, and the stack of each stage.

If sharing is the same in all stages, all layers are one stack, whatever the fusion scheme: weights trained with one
scheme fit every other. If modalities share other weights once they are fused, or differ in depth before, there are two
stacks: `apart` and `fused`.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array

from mmvideo.model.config import Model, model_dims
from mmvideo.model.fusion.fusion_stages import Stage
from mmvideo.model.transformer.block import LayerParams, TransformerStack


def make_stacks(config: Model, stages: tuple[Stage, ...], owners: tuple[str, ...], *, rngs: nnx.Rngs) -> nnx.Module:
    """Build the layers of all stages: a `TransformerStack`, or an `nnx.Dict` of two.

    Args:
      config: the model.
      stages: its stages.
      owners: the modalities of the run, which own the weights that are not shared.
    """
    dims = model_dims(config)
    block = config.block
    sharing = config.sharing
    if sharing.apart == sharing.fused and not config.depths:
        return TransformerStack(dims, block, None, sharing.apart, owners, rngs=rngs)
    meet = _meet(stages)
    made = {}
    if meet:
        made["apart"] = TransformerStack(dims, block, meet, sharing.apart, owners, config.depths, rngs=rngs)
    if meet < dims.depth:
        made["fused"] = TransformerStack(dims, block, dims.depth - meet, sharing.fused, owners, rngs=rngs)
    return nnx.Dict(made)


def layers_of(stacks: nnx.Module, stages: tuple[Stage, ...], first: int, end: int) -> LayerParams:
    """Return the weights of layers `first` to `end - 1`, which are in one stage.

    A modality with another number of layers gives the same fraction of its own.
    """
    # Example: stages [0, 4) and [4, 12) with two stacks: layers 6 to 8 are rows 2 to 4 of the stack `fused`.
    stack, start, count = _stack(stacks, stages, first)

    def cut(weights: Array) -> Array:
        return weights[_own(first - start, weights, count) : _own(end - start, weights, count)]

    return jax.tree.map(cut, stack.layers())


def layer_of(stacks: nnx.Module, stages: tuple[Stage, ...], layer: int) -> LayerParams:
    """Return the weights of one layer; of a modality with another number of layers, the one at the same fraction."""
    stack, start, count = _stack(stacks, stages, layer)
    return jax.tree.map(lambda weights: weights[_own(layer - start, weights, count)], stack.layers())


def _own(layer: int, weights: Array, count: int) -> int:
    """Return the index of a layer, counted among `count` layers, in a stack with another number of layers.

    Example: layer 2 of 4 is layer 3 in a stack of 6.
    """
    return layer * len(weights) // count


def _stack(stacks: nnx.Module, stages: tuple[Stage, ...], layer: int) -> tuple[TransformerStack, int, int]:
    """Return the stack that holds a layer, the first of its layers, and their number."""
    meet = _meet(stages)
    depth = stages[-1].end
    if isinstance(stacks, TransformerStack):
        return stacks, 0, depth
    return (stacks["apart"], 0, meet) if layer < meet else (stacks["fused"], meet, depth - meet)


def _meet(stages: tuple[Stage, ...]) -> int:
    """Return the first layer in which some modalities are fused."""
    return stages[0].end if stages[0].name == "apart" else 0
