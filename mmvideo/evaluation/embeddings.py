"""Runs a learner over a corpus and keeps what retrieval and probes need, one row a clip."""

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
    """What a learner makes of `n` clips, ordered by clip number.

    Attributes:
      clip_index: number of each clip in its corpus.
      ids: id of each clip.
      vectors: embedding by modality or group of modalities, unit length.
      present: whether the clip has all of these modalities; its vector means nothing otherwise.
      features: pooled features of the trunk before any head, by modality or group.
      featured: the same as `present`, for `features`.
      labels: class number for each kind of label, negative where unknown.
    """

    clip_index: Int[np.ndarray, "n"]
    ids: list[str]
    vectors: dict[str, Float[np.ndarray, "n _"]]
    present: dict[str, Bool[np.ndarray, "n"]]
    features: dict[str, Float[np.ndarray, "n _"]]
    featured: dict[str, Bool[np.ndarray, "n"]]
    labels: dict[str, Int[np.ndarray, "n"]]


def embed_corpus(learner: nnx.Module, batches: Any, place: Place | None = None, limit: int | None = None) -> Embeddings:
    """Embeds every clip of a corpus exactly once.

    Args:
      learner: has `embed(stream)` and `features(stream)`, each a dict of a `[B, E, d]` array and a
        `[B, E]` array that tells which clips it means something for.
      batches: one pass over the corpus without masks, one view a clip: `mmvideo.input.pipeline.Batches(train=False)`.
      place, limit: as of `run_inference`.

    Returns:
      The same arrays on every process. A clip that could not be decoded is not among them.

    Raises:
      ValueError: the corpus gives no clip at all, or one twice.
    """
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
