"""Sounding shapes: generated clips with known attributes, labels and performance ceilings.

A coloured shape moves in one of six ways while an instrument plays one of four melodies; each bounce beeps. The labels
depend on video alone (`visual`), audio alone (`audio`), or both together (`joint`, `sync`). `attributes` defines the
distribution of the clips, `ceiling` the best possible performance. `scenes` joins clips to long videos with queries,
`questions` asks about single clips.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmvideo.datasets.shapes.attributes import Attributes
    from mmvideo.datasets.shapes.ceiling import ceilings, known_oracle, oracle
    from mmvideo.datasets.shapes.clips import Shapes
    from mmvideo.datasets.shapes.config import ShapesConfig
    from mmvideo.datasets.shapes.grammar import known_facts
    from mmvideo.datasets.shapes.scenes import Scenes, ScenesConfig
    from mmvideo.datasets.shapes.write import write_scenes, write_shapes

_HOME = {
    "Attributes": "attributes",
    "Scenes": "scenes",
    "ScenesConfig": "scenes",
    "Shapes": "clips",
    "ShapesConfig": "config",
    "ceilings": "ceiling",
    "known_facts": "grammar",
    "known_oracle": "ceiling",
    "oracle": "ceiling",
    "write_scenes": "write",
    "write_shapes": "write",
}

__all__ = [
    "Attributes", "Scenes", "ScenesConfig", "Shapes", "ShapesConfig",
    "ceilings", "known_facts", "known_oracle", "oracle", "write_scenes", "write_shapes",
]  # fmt: skip


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
