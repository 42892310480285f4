"""Inference over every view of every clip of a corpus, once each, on any mesh and any number of processes."""

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
"""Function that puts a process's rows of a batch onto the devices."""

PredictFn = Callable[[Any, TokenStream], Any]
"""Function `ask(learner, stream)` that returns arrays `[B, E, …]` in any nesting.

It must be a module-level function or a value with equality, so that it is compiled once."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of a learner for `n` views, ordered by clip and view.

    Attributes:
      clip_index: Index of each view's clip in its corpus.
      view: Number of the view within its clip.
      start: Start of the view in the clip, in seconds.
      present: Mask of the modalities of the view, in the order of `MODALITIES`.
      labels: Class index by kind of label, negative if unknown.
      targets: Numbers by kind, NaN if unknown.
      answers: Predictions, with a leading axis of `n`.
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
        # clip_index [0, 0, 3, 3, 3]: the rows are [0, 2].
        return np.flatnonzero(np.diff(self.clip_index, prepend=-1))


def run_inference(
    learner: nnx.Module, batches: Any, ask: PredictFn, place: Place | None = None, limit: int | None = None
) -> Any:
    """Return predictions for every view exactly once, however the batches divide.

    Args:
      learner: Learner, run in evaluation mode.
      batches: One pass over a corpus: `mmvideo.input.pipeline.Batches(train=False)`.
      ask: Function that returns the predictions for a batch.
      place: Function that puts a batch onto the devices. None leaves it to jax (one process).
      limit: Number of views to stop after, at the end of a batch. Batches are then spread over the corpus instead of
        taken from its start.

    Returns:
      `Predictions`, the same on every process, without the clips that could not be decoded.

    Raises:
      ValueError: The corpus gives no clip at all, or one of its views twice.
    """
    graph, state = nnx.split(learner)
    parts: list[dict[str, Any]] = []
    views = 0
    for stream in _streams(batches, limit):
        found = to_host(_asked(graph, ask, state, stream if place is None else place(stream)))
        parts.append(_of_clips(found))
        # Empty slots and clips that could not be read are gone by now: only real views count towards the limit.
        views += len(parts[-1]["clip_index"])
        if limit is not None and views >= limit:
            break
    if not any(len(part["clip_index"]) for part in parts):
        raise ValueError(nothing_read(batches))
    return _joined(parts)


def nothing_read(batches: Any) -> str:
    """Return the message for batches without any clip, with the first reason that this process knows."""
    known = list(getattr(batches, "skipped", ()))
    reason = f" ({len(known)} were skipped, such as {known[0][0]}: {known[0][1]})" if known else ""
    return f"the corpus gave no clip to evaluate{reason}; copy it again, build it again, or evaluate on another one"


@functools.partial(jax.jit, static_argnums=(0, 1))
def _asked(graph: nnx.GraphDef, ask: PredictFn, state: Any, stream: TokenStream) -> dict[str, Any]:
    """Return the predictions for a batch, without dropout, with the clip and view of each."""
    learner = nnx.merge(graph, state)
    learner.eval()
    names = ("clip_index", "view", "start", "present", "labels", "targets")
    return {name: getattr(stream.clips, name) for name in names} | {"answers": ask(learner, stream)}


def _streams(batches: Any, limit: int | None) -> Iterator[TokenStream]:
    """Yield the batches of one pass: in order, or spread over the corpus if only some are wanted."""
    steps = batches.steps_per_epoch
    if limit is None:
        for _, stream in batches.iterate(0, steps):
            yield stream
    else:
        for step in spread(steps):
            yield batches.batch(step)


def spread(steps: int) -> list[int]:
    """Return the numbers below `steps`, each once, so that the first few of them are spread over the range."""
    # The golden ratio spreads best. 10 steps: 6 shares a factor with 10, so the stride is 7: 0, 7, 4, 1, 8, 5, 2, 9, 6,
    # 3.
    stride = max(1, round(steps * 0.618))
    while math.gcd(stride, steps) != 1:
        stride += 1
    return [(number * stride) % steps for number in range(steps)]


def to_host(outputs: Any) -> Any:
    """Return global arrays as numpy, whole on every process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(outputs, tiled=True)
    return jax.tree.map(np.asarray, jax.device_get(outputs))


def _of_clips(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the slots that hold a clip, with rows and slots in one axis."""
    rows, slots = np.nonzero(outputs["clip_index"] != PADDING)
    return jax.tree.map(lambda array: array[rows, slots], outputs)


def _joined(parts: list[dict[str, Any]]) -> Predictions:
    """Return all batches joined, in the order of clips and views."""
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    places = np.stack([whole["clip_index"], whole["view"]], axis=1)
    # unique sorts by clip, then view, and finds duplicates: batches of several processes arrive in any order.
    places, first = np.unique(places, axis=0, return_index=True)
    if len(places) != len(whole["clip_index"]):
        raise ValueError("evaluation saw a clip twice; give it batches of one pass (train=False)")
    return Predictions(**jax.tree.map(lambda array: array[first], whole))
