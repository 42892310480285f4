"""Write golden files of `tests/published`: weights, inputs and outputs of a published model, as arrays.

A file holds the weights under their published names (`w/…`, rounded to half precision, in which they are kept), the
inputs (`in/…`) and the model's outputs (`out/…`, float32).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[2] / "tests" / "published" / "golden"


def save(name: str, weights: Mapping, inputs: Mapping, outputs: Mapping) -> None:
    """Write one file; weights that half precision represents exactly are stored in half precision."""
    arrays = {f"w/{key}": _small(np.asarray(value)) for key, value in weights.items()}
    arrays |= {f"in/{key}": np.asarray(value) for key, value in inputs.items()}
    arrays |= {f"out/{key}": np.asarray(value, np.float32) for key, value in outputs.items()}
    TARGET.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET / f"{name}.npz", **arrays)
    print(name, (TARGET / f"{name}.npz").stat().st_size, "bytes")


def random_pixels(*shape: int) -> np.ndarray:
    """Return random bytes of a shape."""
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def _small(value: np.ndarray) -> np.ndarray:
    half = value.astype(np.float16)
    return half if np.array_equal(half.astype(value.dtype), value) else value
