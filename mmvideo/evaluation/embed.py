"""Runs a learner over a corpus and keeps what retrieval and probes need, one row a clip."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int

from mmvideo.stream import PADDING, TokenStream

Place = Callable[[TokenStream], TokenStream]
"""Puts a process's rows of a batch onto the devices."""


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """What a learner makes of `n` clips, ordered by clip number.

    Attributes:
      number: number of each clip in its corpus.
      ids: id of each clip.
      vectors: embedding by modality or group of modalities, unit length.
      present: whether the clip has all of these modalities; its vector means nothing otherwise.
      features: pooled features of the trunk before any head, by modality or group.
      featured: the same as `present`, for `features`.
      labels: class number for each kind of label, negative where unknown.
    """

    number: Int[np.ndarray, "n"]
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
      batches: one pass over the corpus without masks: `mmvideo.input.pipeline.Batches(train=False)`.
      place: puts a batch onto the devices; None leaves it to jax (one process).
      limit: stop after the batch in which so many clips are reached; batches are then taken spread
        over the corpus, not from its beginning.

    Returns:
      The same arrays on every process. A clip that could not be decoded is not among them.

    Raises:
      ValueError: the corpus gives no clip at all, or one twice.
    """
    graph, state = nnx.split(learner)
    parts: list[dict[str, Any]] = []
    clips = 0
    for stream in _streams(batches, limit):
        outputs = _outputs(graph, state, stream if place is None else place(stream))
        part = _real_clips(to_host(outputs))
        parts.append(part)
        clips += len(part["number"])
        if limit is not None and clips >= limit:
            break
    return _join(parts, batches)


@functools.partial(jax.jit, static_argnums=0)
def _outputs(graph: nnx.GraphDef, state: Any, stream: TokenStream) -> dict[str, Any]:
    """Embeddings, features, numbers and labels of a batch, without dropout."""
    learner = nnx.merge(graph, state)
    learner.eval()
    return {
        "embed": learner.embed(stream),
        "features": learner.features(stream),
        "number": stream.clips.number,
        "labels": dict(stream.clips.labels),
    }


def _streams(batches: Any, limit: int | None) -> Iterator[TokenStream]:
    """The batches of one pass: in order, or spread over the corpus when only some are wanted."""
    steps = batches.steps_per_epoch
    if limit is None:
        for _, stream in batches.iterate(0, steps):
            yield stream
    else:
        for step in spread(steps):
            yield batches.batch(step)


def spread(steps: int) -> list[int]:
    """The numbers below `steps`, each once, such that any first few lie all over the range."""
    stride = max(1, round(steps * 0.618))
    while math.gcd(stride, steps) != 1:
        stride += 1
    return [(number * stride) % steps for number in range(steps)]


def to_host(outputs: Any) -> Any:
    """Global arrays as numpy, whole on every process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(outputs, tiled=True)
    return jax.tree.map(np.asarray, jax.device_get(outputs))


def _real_clips(outputs: dict[str, Any]) -> dict[str, Any]:
    """The slots that hold a clip, rows and slots in one axis."""
    rows, slots = np.nonzero(outputs["number"] != PADDING)
    return jax.tree.map(lambda array: array[rows, slots], outputs)


def _join(parts: list[dict[str, Any]], batches: Any) -> Embeddings:
    """All batches as one, in the order of the clips' numbers."""
    if not any(len(part["number"]) for part in parts):
        raise ValueError("the corpus gave no clip to evaluate; are all of its clips unreadable? See the skipped list")
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    number, first = np.unique(whole["number"], return_index=True)
    if len(number) != len(whole["number"]):
        raise ValueError("evaluation saw a clip twice; give it batches of one pass (train=False)")
    whole = jax.tree.map(lambda array: array[first], whole)
    return Embeddings(
        number=number.astype(np.int64),
        ids=[batches.clip_id(int(clip)) for clip in number],
        vectors={name: vector.astype(np.float32) for name, (vector, _) in whole["embed"].items()},
        present={name: present for name, (_, present) in whole["embed"].items()},
        features={name: feature.astype(np.float32) for name, (feature, _) in whole["features"].items()},
        featured={name: present for name, (_, present) in whole["features"].items()},
        labels={name: label.astype(np.int64) for name, label in whole["labels"].items()},
    )
