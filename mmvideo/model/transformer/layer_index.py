"""Depth of each parameter of the transformer: layers above it, and rows that belong to the first layers.

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
    """Return for each parameter, by dotted name, the number of layers above it, its own included.

    Stacked layers have one value each: 1 for the last layer, `n` for the first of `n`. Parameters at the input of a
    first layer (embedders, positions, class tokens, registers, bottlenecks) count as a layer before it. A norm at the
    end of a stage has the layers of the later stages above it, so the last norm has 0. A modality with its own depth
    counts its own layers, and video counts those of a space encoder. A parameter shared by several modalities has the
    largest of their counts.
    """
    # Example with 4 layers: embed.video.dense.kernel 5, blocks.qkv_kernel [4 3 2 1], norms.fused.scale 0. With a
    # learning rate of base * decay ** count the embedder then learns slowest.
    return {name: _above(backbone, name.split("."), shape) for name, shape in _shapes(backbone).items()}


def num_frozen_rows(backbone: MultimodalTransformer, count: int) -> dict[str, int]:
    """Return for each parameter the number of rows, on the first axis, that are in the first `count` layers; or `ALL`.

    Parameters before the first layer belong to them if `count` is 1 or more. The norm at the end of a stage never does.
    """
    return {name: _below(backbone, name.split("."), shape, count) for name, shape in _shapes(backbone).items()}


def _shapes(backbone: nnx.Module) -> dict[str, tuple[int, ...]]:
    state = nnx.to_flat_state(nnx.state(backbone, nnx.Param))
    return {".".join(map(str, path)): variable.get_value().shape for path, variable in state}


def _above(backbone: MultimodalTransformer, path: list[str], shape: tuple[int, ...]) -> int | Int[np.ndarray, " n"]:
    group = path[0]
    depth = backbone.stages[-1].end
    if group == "blocks":
        end = _span(backbone, path)[1]
        # `shape[0]` may differ from the stage's number of layers: a modality with its own depth counts its own.
        return depth - end + shape[0] - np.arange(shape[0])
    if group == "alone":
        return depth - backbone.alone.stage.first - np.arange(shape[0])
    if group == "norms":
        return depth - next(stage.end for stage in backbone.stages if stage.name == path[1])
    if group == "space":
        tower = _tower(backbone, "video")
        own = backbone.space.dims.depth
        if path[1] == "blocks":
            return tower + own - np.arange(own)
        return tower if path[1] == "norm" else tower + own + 1
    if path[:2] == ["extra", "bottlenecks"]:
        return depth - _narrow(backbone) + 1
    named = [name for name in MODALITIES if any(part == name or part.startswith(f"{name}_") for part in path)]
    return 1 + max(_path_length(backbone, name, group) for name in named or backbone.spec.modalities)


def _below(backbone: MultimodalTransformer, path: list[str], shape: tuple[int, ...], count: int) -> int:
    if path[0] == "norms":
        return 0
    if path[0] == "alone":
        return min(max(count - backbone.alone.stage.first, 0), shape[0])
    if path[0] == "blocks":
        start, end = _span(backbone, path)
        # A modality with its own number of layers freezes the same fraction of them, as `layers_of` takes it. Example:
        # 2 of the 4 layers before fusion are frozen; a modality with 6 layers there freezes 3.
        return min(max(count - start, 0), end - start) * shape[0] // (end - start)
    first = _narrow(backbone) if path[:2] == ["extra", "bottlenecks"] else 0
    return ALL if count > first else 0


def _span(backbone: MultimodalTransformer, path: list[str]) -> tuple[int, int]:
    """Return the range of layers, first and end, of the stack that a parameter of `blocks` is in."""
    depth = backbone.stages[-1].end
    if isinstance(backbone.blocks, TransformerStack):
        return 0, depth
    meet = backbone.stages[0].end if backbone.stages[0].name == "apart" else 0
    return (0, meet) if path[1] == "apart" else (meet, depth)


def _tower(backbone: MultimodalTransformer, modality: str) -> int:
    """Return the number of backbone layers that a modality passes."""
    depth = backbone.stages[-1].end
    first = backbone.stages[0]
    own = (backbone.config.depths or {}).get(modality)
    return depth if own is None or first.name != "apart" else depth - first.end + own


def _path_length(backbone: MultimodalTransformer, modality: str, group: str) -> int:
    """Return the number of layers that an embedded token passes.

    Positions of the backbone come after a space encoder, so they don't pass its layers.
    """
    spaced = modality == "video" and group == "embed" and backbone.space is not None
    return _tower(backbone, modality) + (backbone.space.dims.depth if spaced else 0)


def _narrow(backbone: MultimodalTransformer) -> int:
    """Return the first layer with bottleneck tokens."""
    return next(stage.first for stage in backbone.stages if stage.bottlenecks)
