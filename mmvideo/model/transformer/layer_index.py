"""How high a parameter of the transformer lies: layers above it, and whether it is among the first ones.

Layer-wise learning rates count from the top, freezing counts from the bottom. Both work on stacked layers, where one
array holds many layers along its first axis.
"""

from __future__ import annotations

import sys

import numpy as np
from flax import nnx
from jaxtyping import Int

from mmvideo.model.transformer.block import TransformerStack
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import MODALITIES

ALL = sys.maxsize
"""All rows of a parameter."""


def layers_to_output(backbone: MultimodalTransformer) -> dict[str, int | Int[np.ndarray, " n"]]:
    """For each parameter by dotted name, how many layers lie above it, its own included.

    Of stacked layers one number each: 1 for the last layer, `n` for the first of `n`. What makes or adds to the
    input of a first layer (embedders, positions, class tokens, registers, bottlenecks) counts as a layer before it,
    a norm at the end of a stage has the layers of the later stages above it, so that of the last has none. A modality
    with its own depth counts its own layers, and video those of a space encoder; what several share counts the most.
    """
    return {name: _above(backbone, name.split("."), shape) for name, shape in _shapes(backbone).items()}


def num_frozen_rows(backbone: MultimodalTransformer, count: int) -> dict[str, int]:
    """For each parameter, how many of its rows along the first axis belong to the first `count` layers; or `ALL`.

    What comes before the first layer belongs to them if `count` is 1 or more, the norm at the end of a stage never.
    """
    return {name: _below(backbone, name.split("."), shape, count) for name, shape in _shapes(backbone).items()}


def _shapes(backbone: nnx.Module) -> dict[str, tuple[int, ...]]:
    state = nnx.to_flat_state(nnx.state(backbone, nnx.Param))
    return {".".join(map(str, path)): variable.get_value().shape for path, variable in state}


def _above(backbone: MultimodalTransformer, path: list[str], shape: tuple[int, ...]) -> int | Int[np.ndarray, " n"]:
    room, depth = path[0], backbone.stages[-1].end
    if room == "blocks":
        end = _span(backbone, path)[1]
        return depth - end + shape[0] - np.arange(shape[0])
    if room == "alone":
        return depth - backbone.alone.stage.first - np.arange(shape[0])
    if room == "norms":
        return depth - next(stage.end for stage in backbone.stages if stage.name == path[1])
    if room == "space":
        tower, own = _tower(backbone, "video"), backbone.space.dims.depth
        if path[1] == "blocks":
            return tower + own - np.arange(own)
        return tower if path[1] == "norm" else tower + own + 1
    if path[:2] == ["extra", "bottlenecks"]:
        return depth - _narrow(backbone) + 1
    named = [name for name in MODALITIES if any(part == name or part.startswith(f"{name}_") for part in path)]
    return 1 + max(_path_length(backbone, name, room) for name in named or backbone.spec.modalities)


def _below(backbone: MultimodalTransformer, path: list[str], shape: tuple[int, ...], count: int) -> int:
    if path[0] == "norms":
        return 0
    if path[0] == "alone":
        return min(max(count - backbone.alone.stage.first, 0), shape[0])
    if path[0] == "blocks":
        start, end = _span(backbone, path)
        # A modality with another number of layers here gives those in the same part of its own, as `layers_of` does.
        return min(max(count - start, 0), end - start) * shape[0] // (end - start)
    first = _narrow(backbone) if path[:2] == ["extra", "bottlenecks"] else 0
    return ALL if count > first else 0


def _span(backbone: MultimodalTransformer, path: list[str]) -> tuple[int, int]:
    """The layers of the stack that a parameter of `blocks` is in: first, and behind the last."""
    depth = backbone.stages[-1].end
    if isinstance(backbone.blocks, TransformerStack):
        return 0, depth
    meet = backbone.stages[0].end if backbone.stages[0].name == "apart" else 0
    return (0, meet) if path[1] == "apart" else (meet, depth)


def _tower(backbone: MultimodalTransformer, modality: str) -> int:
    """Layers of the trunk that a modality passes."""
    depth, first = backbone.stages[-1].end, backbone.stages[0]
    own = (backbone.config.depths or {}).get(modality)
    return depth if own is None or first.name != "apart" else depth - first.end + own


def _path_length(backbone: MultimodalTransformer, modality: str, room: str) -> int:
    """Layers that an embedded token of a modality passes; its positions in the trunk lie behind a space encoder."""
    spaced = modality == "video" and room == "embed" and backbone.space is not None
    return _tower(backbone, modality) + (backbone.space.dims.depth if spaced else 0)


def _narrow(backbone: MultimodalTransformer) -> int:
    """The first layer with bottleneck tokens."""
    return next(stage.first for stage in backbone.stages if stage.bottlenecks)
