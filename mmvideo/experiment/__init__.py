"""An experiment: the settings of all packages together, and the commands that use them."""

from __future__ import annotations

import importlib
from typing import Any

# Imported on first use: `mmvideo.experiment.find_config` must be importable without JAX, which takes seconds.
_HOMES = {
    "Experiment": "mmvideo.experiment.config",
    "load_experiment": "mmvideo.experiment.config",
    "load": "mmvideo.experiment.weights.load",
}
__all__ = ["Experiment", "load", "load_experiment"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmvideo.experiment' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
