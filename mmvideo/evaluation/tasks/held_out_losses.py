"""Losses of a learner on held-out clips, without training on them."""

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
"""Names of the metrics that count tokens or clips. They are summed, all others averaged."""


@dataclasses.dataclass(frozen=True)
class LossEvaluator:
    """Evaluator of the losses and metrics of every objective on held-out clips.

    Attributes:
      batches: The held-out clips, one pass, with masks.
      dataset: Name of the dataset.
      split: Name of the split.
    """

    batches: Any
    dataset: str
    split: str
    name: str = "losses"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return metrics with the names of the learner, such as `masked_patches/video/loss` and its `mean_loss`.

        Raises:
          ValueError: No clip could be read.
        """
        graph, state = nnx.split(subject.learner)
        found, clips = [], 0
        for _, stream in self.batches.iterate(0, self.batches.steps_per_epoch):
            placed = stream if subject.place is None else subject.place(stream)
            # Losses are already means over the global batch: every process has the same values.
            metrics, seen = to_host(_losses(graph, state, placed))
            found.append({name: float(np.ravel(value)[0]) for name, value in metrics.items()})
            clips += int(np.ravel(seen)[0])
        if not clips:
            raise ValueError(nothing_read(self.batches))
        return EvaluationResult(pooled(found), [], PROTOCOL, self.dataset, self.split, clips)


@functools.partial(jax.jit, static_argnums=0)
def _losses(graph: nnx.GraphDef, state: Any, stream: TokenStream) -> tuple[dict[str, Any], Any]:
    """Return the metrics of a batch and its number of clips, without dropout."""
    learner = nnx.merge(graph, state)
    learner.eval()
    _, metrics = learner.losses(stream)
    return metrics, (stream.clips.clip_index != PADDING).sum()


def pooled(batches: list[Mapping[str, float]]) -> dict[str, float]:
    """Return one value a metric: counts are summed, the rest averaged with the nearest count as weight.

    The weight of `a/video/loss` is `a/video/tokens`, else `a/video/clips`, else those of `a`. Without any, all batches
    have equal weights. A metric with a total count of 0 is left out.
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
            # Losses [1.0, 4.0] with tokens [30, 10]: (30 + 40) / 40 = 1.75.
            result[name] = float((values * weights).sum() / weights.sum())
    return result


def _count(name: str, metrics: Mapping[str, float]) -> str | None:
    """Return the name of the count that weights a metric."""
    folder = name
    while "/" in folder:
        folder = folder.rsplit("/", 1)[0]
        for count in COUNTS:
            if f"{folder}/{count}" in metrics:
                return f"{folder}/{count}"
    return None
