"""Which stack holds the layers of a stage.

As long as sharing is the same everywhere, all layers are one stack, whatever the fusion: weights learned with one
scheme fit every other. Where modalities share less or more once they have met, or differ in depth before,
there is a stack of each: `apart` and `fused`.
"""

from __future__ import annotations

from flax import nnx

from mmvideo.model.block import Blocks, Layer
from mmvideo.model.config import Model, dimensions
from mmvideo.model.fusion import Stage


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


def layers_of(stacks: nnx.Module, stages: tuple[Stage, ...], stage: Stage, first: int, end: int) -> Layer:
    """The weights of layers `first` to `end - 1`, which are of one stage.

    Where modalities differ in depth below fusion, that stage has its layers in one piece only.
    """
    if isinstance(stacks, Blocks):
        return stacks.layers(first, end)
    if (first, end) == (stage.first, stage.end) and stage.name == "apart":
        return stacks["apart"].layers()
    below = 0 if stage.name == "apart" else _meet(stages)
    return stacks["apart" if stage.name == "apart" else "fused"].layers(first - below, end - below)


def _meet(stages: tuple[Stage, ...]) -> int:
    """The first layer in which some modalities have met."""
    return stages[0].end if stages[0].name == "apart" else 0
