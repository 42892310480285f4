"""Evaluator of the moments that a run finds in long videos for a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmvideo.evaluation.inference import Predictions
from mmvideo.evaluation.metrics import moments
from mmvideo.evaluation.multi_view import predictions, views_protocol
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.evaluation.tasks import moment_decoding

LEVELS = 4
"""Highest saliency of QVHighlights, whose scale starts at 0; streams hold it in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class MomentRetrievalEvaluator:
    """Evaluator of the moments and highlights of every clip with a query, scored as QVHighlights does.

    Attributes:
      batches: The held-out clips with their queries, one pass; sliding views cover clips that are longer than a view.
      objective: Name of the moments objective.
      dataset: Name of the dataset.
      split: Name of the split.
      iou: Intersection over union with a better window above which a window is left out.
    """

    batches: Any
    objective: str
    dataset: str
    split: str
    iou: float = 0.7
    name: str = "moments"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return the metrics of `metrics.moments`; clips without moments are left out and counted."""
        found = subject.answers(self.batches, predictions)
        answer = found.answers[self.objective]
        # Views of one clip are neighbours: with first [0, 3] and 5 views, clip 0 has the views 0 to 2 and clip 1 the
        # views 3, 4.
        stops = np.append(found.first[1:], len(found.clip_index))
        every = self._every(found)
        said, true, unanswered = [], [], 0
        for first, stop in zip(found.first, stops, strict=True):
            rows = np.arange(first, stop)[answer["known"][first:stop]]
            truth = self._truth(int(found.clip_index[first]), every)
            if truth is None or not len(rows):
                unanswered += 1
                continue
            said.append(self._said(found, answer, rows, truth, every))
            true.append(truth)
        metrics, details = moments.moment_metrics(said, true, clip_seconds=every)
        metrics["without_query"] = unanswered
        rows = [
            {
                "id": one["qid"],
                "truth": one["relevant_windows"],
                "scores": [[round(value, 4) for value in window] for window in prediction["pred_relevant_windows"]],
            }
            for prediction, one in zip(said, true, strict=True)
        ]
        protocol = (
            moments.PROTOCOL | moment_decoding.PROTOCOL | {"iou of suppression": self.iou} | views_protocol(found)
        )
        clips = len(found.first)
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, clips, details=details)

    def _every(self, found: Predictions) -> float:
        """Return the length in seconds of an interval with a saliency: 2, as in QVHighlights, if the corpus has none.

        Raises:
          ValueError: The intervals have different lengths.
        """
        rated = (self.batches.corpus.moments.of(int(number))[1] for number in found.clip_index[found.first])
        steps = {saliency.step for saliency in rated if saliency is not None}
        if len(steps) > 1:
            raise ValueError(
                f"{self.dataset} has saliencies of intervals of {sorted(steps)} seconds: build it with one length"
            )
        return steps.pop() if steps else 2.0

    def _truth(self, number: int, every: float) -> dict[str, Any] | None:
        """Return the query of a clip with its moments and saliencies in the format of QVHighlights' files.

        The result is None for a clip without moments.
        """
        corpus = self.batches.corpus
        windows, saliency = corpus.moments.of(number)
        if windows is None:
            return None
        captions: Sequence[str] = corpus.captions(number)
        truth: dict[str, Any] = {
            "qid": self.batches.clip_id(number),
            "query": captions[0] if captions else "",
            "duration": float(corpus.seconds[number]),
            "relevant_windows": [list(window) for window in windows],
        }
        if saliency is not None:
            rated = [(place, score) for place, score in enumerate(saliency.scores) if score is not None]
            truth["relevant_clip_ids"] = [place for place, _ in rated]
            truth["saliency_scores"] = [[round(LEVELS * score)] for _, score in rated]
        return truth

    def _said(
        self, found: Predictions, answer: dict[str, Any], rows: np.ndarray, truth: dict[str, Any], every: float
    ) -> dict[str, Any]:
        """Return the predictions from all views of a clip in the format of QVHighlights' files."""
        start = found.start[rows].astype(np.float64)
        steps = answer["steps"][rows]
        windows = moment_decoding.moments_of(
            answer["windows"][rows].astype(np.float64), answer["scores"][rows], steps, start, iou=self.iou
        )
        said: dict[str, Any] = {"qid": truth["qid"], "pred_relevant_windows": [list(window) for window in windows]}
        if "saliency_scores" in truth:
            # 151 s in intervals of 2 s: 76, the last one of 1 s.
            count = int(np.ceil(truth["duration"] / every))
            scores = moment_decoding.saliency_of(
                answer["saliency"][rows], answer["time"][rows], steps, start, every=every, count=count
            )
            # An interval without a step gets the lowest saliency of the clip, so that it is no highlight.
            said["pred_saliency_scores"] = np.nan_to_num(scores, nan=float(np.nanmin(scores))).tolist()
        return said
