"""An experiment: the settings of all rooms put together, and what is done with them."""

from __future__ import annotations

import importlib
from typing import Any

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
