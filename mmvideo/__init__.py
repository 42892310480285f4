"""mmvideo: one transformer for video, sound and text, in JAX and Flax.

The public face. Names are imported when they are first used, so that `import mmvideo` is instant:

    import mmvideo
    run = mmvideo.load("runs/quickstart")               # a trained model with its tokenizer
    embeddings = run.embed(["clip.mp4"], texts=["a red circle bounces"])
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Experiment": "mmvideo.experiment",
    "load": "mmvideo.experiment",
    "MultimodalTransformer": "mmvideo.model.transformer.multimodal_transformer",
    "TokenStream": "mmvideo.stream",
}
__all__ = ["Experiment", "MultimodalTransformer", "TokenStream", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmvideo' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
