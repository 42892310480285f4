"""Evaluator of dense captions: the events of a video with their times, generated as one text with time tokens."""

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
    """Evaluator of the generated events of a whole video against those of its manifest (`events`).

    Attributes:
      batches: The held-out clips without their text, one pass; a view must hold the whole clip.
      objective: Name of the captioning objective.
      dataset: Name of the dataset.
      split: Name of the split.
      decoding: Settings of text generation.
    """

    batches: Any
    objective: str
    dataset: str
    split: str
    decoding: Decoding = Decoding()
    name: str = "dense_captioning"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return metrics of `metrics.captions.dense_captions` and `soda`; METEOR and SODA_c need METEOR's jar."""
        found = write(subject, self.batches, self.objective, self.decoding)
        corpus, bins = self.batches.corpus, self.batches.tokenizer.time_tokens
        predicted, truth = {}, {}
        for clip, number, text in zip(found.ids, found.numbers, found.texts, strict=True):
            seconds = float(corpus.seconds[number])
            predicted[clip] = [Event(*event) for event in read_events(text, seconds, bins)]
            truth[clip] = [[Event(e["start"], e["end"], e["caption"]) for e in corpus.events(number)]]
        path = jar(None, METEOR_VARIABLE)
        # METEOR is optional: without its jar the same code runs with `meteor` None.
        with contextlib.nullcontext() if path is None else Meteor(path) as meteor:
            metrics, each = dense_caption_metrics(predicted, truth, meteor)
            story, _ = soda_metrics(predicted, truth, meteor)
        # Both metric sets have `clips` and `left_out`; only the SODA values are new.
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
            {"id": row["id"], "prediction": _written(row["events"]), "references": [_written(row["truth"])]}
            for row in evenly(rows)
        ]
        protocol = {"decoding": dataclasses.asdict(self.decoding), "time": f"{bins} moments of a clip"}
        clips = len(rows) + found.without
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, clips, details={"samples": samples})


def _written(events: list[list[Any]]) -> str:
    """Return events as readable text."""
    return "; ".join(f"{start:.1f}–{end:.1f} s {caption}" for start, end, caption in events)
