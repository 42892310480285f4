"""The losses of a learner on held-out clips, nothing learned from them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from mmvideo.evaluation.inference import nothing_read, to_host
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.stream import PADDING, TokenStream

PROTOCOL = {
    "losses": "of every objective, with the masks of training, on clips that training never saw",
    "mean": "over batches, each weighted by the tokens (else the clips) that counted in it",
}

COUNTS = ("tokens", "clips")
"""Metrics that say how much a loss stands for; they are summed, all others averaged."""


@dataclasses.dataclass(frozen=True)
class LossEvaluator:
    """What every objective tells of held-out clips.

    Attributes:
      batches: the held-out clips, one pass, with masks.
      dataset, split: what they are called.
    """

    batches: Any
    dataset: str
    split: str
    name: str = "losses"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Metrics as the learner names them: `masked_patches/video/loss` beside `masked_patches/video/mean_loss`.

        Raises:
          ValueError: no clip could be read.
        """
        graph, state = nnx.split(subject.learner)
        found, clips = [], 0
        for _, stream in self.batches.iterate(0, self.batches.steps_per_epoch):
            placed = stream if subject.place is None else subject.place(stream)
            metrics, seen = to_host(_losses(graph, state, placed))
            found.append({name: float(np.ravel(value)[0]) for name, value in metrics.items()})
            clips += int(np.ravel(seen)[0])
        if not clips:
            raise ValueError(nothing_read(self.batches))
        return EvaluationResult(pooled(found), [], PROTOCOL, self.dataset, self.split, clips)


@functools.partial(jax.jit, static_argnums=0)
def _losses(graph: nnx.GraphDef, state: Any, stream: TokenStream) -> tuple[dict[str, Any], Any]:
    """The metrics of a batch and its clips, without dropout."""
    learner = nnx.merge(graph, state)
    learner.eval()
    _, metrics = learner.losses(stream)
    return metrics, (stream.clips.clip_index != PADDING).sum()


def pooled(batches: list[Mapping[str, float]]) -> dict[str, float]:
    """One value a metric: counts are summed, the rest averaged by the nearest count beside or above them.

    `a/video/loss` goes by `a/video/tokens`, or `a/video/clips`, or those of `a`; without any all
    batches weigh alike. A metric that nothing counted for is left out.
    """
    result = {}
    for name in batches[0] if batches else ():
        values = np.array([batch[name] for batch in batches])
        if name.rsplit("/", 1)[-1] in COUNTS:
            result[name] = float(values.sum())
            continue
        count = _count(name, batches[0])
        weights = np.ones(len(batches)) if count is None else np.array([batch[count] for batch in batches])
        if weights.sum() > 0:
            result[name] = float((values * weights).sum() / weights.sum())
    return result


def _count(name: str, metrics: Mapping[str, float]) -> str | None:
    """The count that a metric goes by."""
    folder = name
    while "/" in folder:
        folder = folder.rsplit("/", 1)[0]
        for count in COUNTS:
            if f"{folder}/{count}" in metrics:
                return f"{folder}/{count}"
    return None
