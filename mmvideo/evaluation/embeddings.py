"""Embeddings and features of a corpus for retrieval and probes, one row a clip."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int

from mmvideo.evaluation.inference import Place, run_inference
from mmvideo.stream import TokenStream


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embeddings and features of `n` clips, ordered by clip index.

    Attributes:
      clip_index: Index of each clip in its corpus.
      ids: Id of each clip.
      vectors: Unit embeddings by modality or group of modalities.
      present: Mask of the clips that have all of these modalities; the vectors of the others are meaningless.
      features: Pooled features of the backbone before any head, by modality or group.
      featured: Mask of the clips with `features`, likewise.
      labels: Class index for each kind of label, negative if unknown.
    """

    clip_index: Int[np.ndarray, "n"]
    ids: list[str]
    vectors: dict[str, Float[np.ndarray, "n _"]]
    present: dict[str, Bool[np.ndarray, "n"]]
    features: dict[str, Float[np.ndarray, "n _"]]
    featured: dict[str, Bool[np.ndarray, "n"]]
    labels: dict[str, Int[np.ndarray, "n"]]


def embed_corpus(learner: nnx.Module, batches: Any, place: Place | None = None, limit: int | None = None) -> Embeddings:
    """Embed every clip of a corpus exactly once.

    Args:
      learner: Learner with `embed(stream)` and `features(stream)`; each returns, by name, a `[B, E, d]` array and a
        `[B, E]` mask of the clips for which it is meaningful.
      batches: One pass over the corpus without masks, one view a clip: `mmvideo.input.pipeline.Batches(train=False)`.
      place: Function that puts a batch onto the devices, as for `run_inference`.
      limit: Number of views to stop after, as for `run_inference`.

    Returns:
      The same arrays on every process, without the clips that could not be decoded.

    Raises:
      ValueError: The corpus gives no clip at all, or one clip twice.
    """
    # Embeddings and features come from one pass over the corpus.
    found = run_inference(learner, batches, _embedded, place, limit)
    embedded, features = found.answers["embed"], found.answers["features"]
    return Embeddings(
        clip_index=found.clip_index.astype(np.int64),
        ids=[batches.clip_id(int(clip)) for clip in found.clip_index],
        vectors={name: vector.astype(np.float32) for name, (vector, _) in embedded.items()},
        present={name: present for name, (_, present) in embedded.items()},
        features={name: feature.astype(np.float32) for name, (feature, _) in features.items()},
        featured={name: present for name, (_, present) in features.items()},
        labels={name: label.astype(np.int64) for name, label in found.labels.items()},
    )


def _embedded(learner: Any, stream: TokenStream) -> dict[str, Any]:
    return {"embed": learner.embed(stream), "features": learner.features(stream)}
