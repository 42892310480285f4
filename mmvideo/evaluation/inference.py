"""Asks a learner about every view of every clip of a corpus, once each, on any mesh and any number of processes."""

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

PredictFn = Callable[[Any, TokenStream], Any]
"""`ask(learner, stream)`: arrays `[B, E, …]` in any nesting. A function of a module, so that it is compiled once."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a learner answers about `n` views, ordered by clip and view.

    Attributes:
      clip_index: number of each view's clip in its corpus.
      view: which of the clip's views it is.
      start: where the view starts in the clip, in seconds.
      present: which modalities the view shows, in the order of `MODALITIES`.
      labels: class number by kind of label, negative where unknown.
      targets: numbers by kind, NaN where unknown.
      answers: what was asked for, with a leading axis of `n`.
    """

    clip_index: Int[np.ndarray, " n"]
    view: Int[np.ndarray, " n"]
    start: Float[np.ndarray, " n"]
    present: Bool[np.ndarray, "n 3"]
    labels: dict[str, Int[np.ndarray, " n"]]
    targets: dict[str, Float[np.ndarray, "n _"]]
    answers: Any

    @property
    def first(self) -> Int[np.ndarray, " m"]:
        """The row of the first view of each clip."""
        return np.flatnonzero(np.diff(self.clip_index, prepend=-1))


def run_inference(
    learner: nnx.Module, batches: Any, ask: PredictFn, place: Place | None = None, limit: int | None = None
) -> Any:
    """Answers about every view exactly once, however the batches divide.

    Args:
      learner: asked in evaluation mode.
      batches: one pass over a corpus: `mmvideo.input.pipeline.Batches(train=False)`.
      ask: what is asked.
      place: puts a batch onto the devices; None leaves it to jax (one process).
      limit: stop after the batch in which so many views are reached; batches are then taken spread over the
        corpus, not from its beginning.

    Returns:
      `Predictions`, the same on every process. A clip that could not be decoded is not among them.

    Raises:
      ValueError: the corpus gives no clip at all, or one of its views twice.
    """
    graph, state = nnx.split(learner)
    parts: list[dict[str, Any]] = []
    views = 0
    for stream in _streams(batches, limit):
        found = to_host(_asked(graph, ask, state, stream if place is None else place(stream)))
        parts.append(_of_clips(found))
        views += len(parts[-1]["clip_index"])
        if limit is not None and views >= limit:
            break
    if not any(len(part["clip_index"]) for part in parts):
        raise ValueError(nothing_read(batches))
    return _joined(parts)


def nothing_read(batches: Any) -> str:
    """What is said where batches gave no clip at all, with the first reason that this process knows."""
    known = list(getattr(batches, "skipped", ()))
    reason = f" ({len(known)} were skipped, such as {known[0][0]}: {known[0][1]})" if known else ""
    return f"the corpus gave no clip to evaluate{reason}; copy it again, build it anew, or evaluate on another"


@functools.partial(jax.jit, static_argnums=(0, 1))
def _asked(graph: nnx.GraphDef, ask: PredictFn, state: Any, stream: TokenStream) -> dict[str, Any]:
    """The answers about a batch, without dropout, with what tells whose they are."""
    learner = nnx.merge(graph, state)
    learner.eval()
    names = ("clip_index", "view", "start", "present", "labels", "targets")
    return {name: getattr(stream.clips, name) for name in names} | {"answers": ask(learner, stream)}


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


def _of_clips(outputs: dict[str, Any]) -> dict[str, Any]:
    """The slots that hold a clip, rows and slots in one axis."""
    rows, slots = np.nonzero(outputs["clip_index"] != PADDING)
    return jax.tree.map(lambda array: array[rows, slots], outputs)


def _joined(parts: list[dict[str, Any]]) -> Predictions:
    """All batches as one, in the order of clips and views."""
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    places = np.stack([whole["clip_index"], whole["view"]], axis=1)
    places, first = np.unique(places, axis=0, return_index=True)
    if len(places) != len(whole["clip_index"]):
        raise ValueError("evaluation saw a clip twice; give it batches of one pass (train=False)")
    return Predictions(**jax.tree.map(lambda array: array[first], whole))
