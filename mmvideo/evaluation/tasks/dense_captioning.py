"""The evaluator of dense captions: what happens when in a video, written as one text with time tokens."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from mmvideo.evaluation.metrics.captions.dense_captions import Event, dense_caption_metrics
from mmvideo.evaluation.metrics.captions.java_scorers import METEOR_VARIABLE, Meteor, jar
from mmvideo.evaluation.metrics.captions.soda import soda_metrics
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.evaluation.tasks.captioning import evenly, write
from mmvideo.media.time_tokens import read_events
from mmvideo.objectives.generation.config import Decoding


@dataclasses.dataclass(frozen=True)
class DenseCaptioningEvaluator:
    """Events that a run writes of a whole video, against those that its manifest tells (`events`).

    Attributes:
      batches: the held-out clips without their text, one pass; a view must hold the whole clip.
      objective: name of the captioning objective that writes.
      dataset, split: what the clips are called.
      decoding: how is written.
    """

    batches: Any
    objective: str
    dataset: str
    split: str
    decoding: Decoding = Decoding()
    name: str = "dense_captioning"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Metrics of `metrics.dense_captions` and `metrics.soda`; METEOR and SODA_c where METEOR's jar is named."""
        found = write(subject, self.batches, self.objective, self.decoding)
        corpus, bins = self.batches.corpus, self.batches.tokenizer.time_tokens
        predicted, truth = {}, {}
        for clip, number, text in zip(found.ids, found.numbers, found.texts, strict=True):
            seconds = float(corpus.seconds[number])
            predicted[clip] = [Event(*event) for event in read_events(text, seconds, bins)]
            truth[clip] = [[Event(e["start"], e["end"], e["caption"]) for e in corpus.events(number)]]
        path = jar(None, METEOR_VARIABLE)
        with contextlib.nullcontext() if path is None else Meteor(path) as meteor:
            metrics, each = dense_caption_metrics(predicted, truth, meteor)
            story, _ = soda_metrics(predicted, truth, meteor)
        metrics |= {name: value for name, value in story.items() if name.startswith("soda")}
        metrics["without_media"] = found.without
        rows = [
            {
                "id": clip,
                "truth": [list(event) for event in truth[clip][0]],
                "scores": {name: round(value, 6) for name, value in each.get(clip, {}).items()},
                "events": [list(event) for event in predicted[clip]],
                "text": text,
            }
            for clip, text in zip(found.ids, found.texts, strict=True)
        ]
        samples = [
            {"id": row["id"], "prediction": _told(row["events"]), "references": [_told(row["truth"])]}
            for row in evenly(rows)
        ]
        protocol = {"decoding": dataclasses.asdict(self.decoding), "time": f"{bins} moments of a clip"}
        clips = len(rows) + found.without
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, clips, details={"samples": samples})


def _told(events: list[list[Any]]) -> str:
    """Events as a reader would write them."""
    return "; ".join(f"{start:.1f}–{end:.1f} s {caption}" for start, end, caption in events)
