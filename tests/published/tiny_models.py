"""The settings of recipes at the size of the golden models, and how those are run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax import nnx
from streams_of_clips import cells, patches
from weights import Golden

from mmvideo.experiment import Experiment
from mmvideo.experiment.config import load_experiment
from mmvideo.model.config import Model
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import PatchSpec, StreamSpec

CONFIGS = Path(__file__).parents[2] / "configs"

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]
"""Pairs of arrays by name, ours and the published one's."""


def recipe(name: str) -> Experiment:
    """A recipe of configs/."""
    return load_experiment(CONFIGS / f"{name}.py")


def small(model: Model, **changes) -> Model:
    """The settings at the size of the golden models, in float32."""
    sizes = dict(depth=2, width=24, heads=2, feed_forward=48, compute="float32", attention="xla", remat="none")
    return dataclasses.replace(model, **(sizes | changes))


def built(model: Model, spec: StreamSpec) -> nnx.Module:
    """A new trunk."""
    return MultimodalTransformer(model, spec, rngs=nnx.Rngs(0))


def run(function: Callable, *modules: nnx.Module, stream):
    """The function of the modules and the stream, compiled."""
    for module in modules:
        module.eval()
    return nnx.jit(function)(*modules, stream)


def of_video(golden: Golden, frames: int, tubelet: tuple[int, int, int]) -> tuple[StreamSpec, np.ndarray, np.ndarray]:
    """The spec of 16 pixels, and the patches and cells of the first clip's frames."""
    shown = golden.given["frames" if "frames" in golden.given else "images"]
    shown = shown[0] if shown.ndim == 5 else shown[:1]
    grid = (frames // tubelet[0], 16 // tubelet[1], 16 // tubelet[2])
    return StreamSpec(video=PatchSpec((*tubelet, 3), grid, 0.25)), patches(shown, tubelet), cells(*grid)


def answers(heads, features, stream):
    """What the heads of masked patches answer for video."""
    return heads(features, stream)["video"]
