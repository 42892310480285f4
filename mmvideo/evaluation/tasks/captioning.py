"""The evaluators of what a run writes: captions, and answers to questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from mmvideo.evaluation.metrics.captions.answers import answer_metrics
from mmvideo.evaluation.metrics.captions.caption_metrics import caption_metrics
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.media.text import ANSWER
from mmvideo.objectives.generation.config import Decoding
from mmvideo.stream import TokenStream

Facts = Callable[[str], Mapping[str, str]]
"""What a caption says, as values by name; what it leaves open is absent."""

SAMPLES = 12
"""Texts that are shown in a report, taken evenly over the clips."""


@dataclasses.dataclass(frozen=True)
class Writing:
    """Asks a captioning objective of a learner for texts."""

    objective: str
    decoding: Decoding

    def __call__(self, learner: Any, stream: TokenStream) -> dict[str, Any]:
        """Pieces `[B, E, T]`, how many of them were given, log probability, and which clips got a text."""
        objective = learner.objectives[self.objective]
        found = objective.generate(learner.heads[self.objective], stream, learner.trunk, self.decoding)
        return {"text_tokens": found.text_tokens, "given": found.given, "score": found.score, "written": found.written}


@dataclasses.dataclass(frozen=True)
class GeneratedCaptions:
    """What was written for clips: their ids, the texts, their log probabilities, and how many clips got none."""

    ids: list[str]
    numbers: list[int]
    texts: list[str]
    scores: list[float]
    without: int


def write(subject: EvaluatedModel, batches: Any, objective: str, decoding: Decoding) -> GeneratedCaptions:
    """The texts that a captioning objective writes, of each clip once, in the order of the corpus."""
    found = subject.answers(batches, Writing(objective, decoding))
    answers, tokenizer = found.answers, batches.tokenizer
    rows = np.flatnonzero(answers["written"])
    texts = [tokenizer.decode(answers["text_tokens"][row, answers["given"][row] :].tolist()).strip() for row in rows]
    numbers = found.clip_index[rows].tolist()
    return GeneratedCaptions(
        [batches.clip_id(number) for number in numbers],
        numbers,
        texts,
        answers["score"][rows].astype(float).tolist(),
        len(found.clip_index) - len(rows),
    )


@dataclasses.dataclass(frozen=True)
class CaptioningEvaluator:
    """Captions against all references of their clip.

    Attributes:
      batches: the held-out clips without their text, one pass.
      objective: name of the captioning objective that writes.
      references: the captions of every clip, by its number.
      dataset, split: what the clips are called.
      decoding: how is written.
      training: captions seen in training, to tell which ones are new; None where they aren't known, which the protocol
        then tells.
      facts: what a caption says, where the language is simple enough to be read.
      together: facts that are also counted together, all of them right.
    """

    batches: Any
    objective: str
    references: Sequence[Sequence[str]]
    dataset: str
    split: str
    decoding: Decoding = Decoding()
    training: Collection[str] | None = None
    facts: Facts | None = None
    together: Sequence[Sequence[str]] = ()
    name: str = "captioning"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Metrics as `metrics.captioning` names them, and `facts/{name}`: captions whose value is that of the first
        reference, of those whose reference says it; `without_media` counts clips that show nothing to tell of."""
        found = write(subject, self.batches, self.objective, self.decoding)
        references = {clip: list(self.references[n]) for clip, n in zip(found.ids, found.numbers, strict=True)}
        predicted = dict(zip(found.ids, found.texts, strict=True))
        metrics, each = caption_metrics(predicted, references, self.training)
        right = {clip: self._facts(predicted[clip], references[clip]) for clip in found.ids if references[clip]}
        metrics |= shares(list(right.values()), self.together) | {"without_media": found.without}
        rows = [
            {
                "id": clip,
                "truth": references[clip],
                "scores": {name: round(value, 6) for name, value in each.get(clip, {}).items()},
                "caption": predicted[clip],
                "log_probability": round(score, 6),
            }
            for clip, score in zip(found.ids, found.scores, strict=True)
        ]
        samples = [{"id": r["id"], "prediction": r["caption"], "references": r["truth"]} for r in evenly(rows)]
        clips = len(rows) + found.without
        protocol = {"decoding": dataclasses.asdict(self.decoding), "references": "all captions of a clip"}
        if self.training is None:
            protocol["novel"] = "left out: the captions that were trained on aren't known here"
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, clips, details={"samples": samples})

    def _facts(self, caption: str, references: Sequence[str]) -> dict[str, bool]:
        """Which of the facts that the first reference says are said right."""
        if self.facts is None:
            return {}
        said = self.facts(caption)
        return {name: said.get(name) == value for name, value in self.facts(references[0]).items()}


@dataclasses.dataclass(frozen=True)
class QuestionAnsweringEvaluator:
    """Answers that a run writes, against the right ones: exact match after the usual normalisation.

    Attributes:
      batches: the held-out clips with their questions, one pass.
      objective: name of the captioning objective that answers.
      references: the captions of every clip, by its number: a question, the mark, an answer.
      dataset, split: what the clips are called.
      decoding: how is written.
    """

    batches: Any
    objective: str
    references: Sequence[Sequence[str]]
    dataset: str
    split: str
    decoding: Decoding = Decoding()
    name: str = "question_answering"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Metrics as `metrics.answers` names them, the questions told apart by their first two words."""
        found = write(subject, self.batches, self.objective, self.decoding)
        asked = {clip: self.references[n][0].split(ANSWER) for clip, n in zip(found.ids, found.numbers, strict=True)}
        right = {clip: [parts[-1].strip()] for clip, parts in asked.items()}
        kinds = {clip: " ".join(parts[0].split()[:2]) for clip, parts in asked.items()}
        predicted = dict(zip(found.ids, found.texts, strict=True))
        metrics, each = answer_metrics(predicted, right, kinds)
        rows = [
            {
                "id": clip,
                "truth": right[clip],
                "scores": each.get(clip, {}),
                "question": asked[clip][0].strip(),
                "answer": predicted[clip],
            }
            for clip in found.ids
        ]
        samples = [
            {"id": r["id"], "prediction": r["answer"], "references": r["truth"], "question": r["question"]}
            for r in evenly(rows)
        ]
        protocol = {"decoding": dataclasses.asdict(self.decoding), "answers": "exact match of the normalised words"}
        clips = len(rows) + found.without
        metrics |= {"without_question": found.without}
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, clips, details={"samples": samples})


def evenly(rows: Sequence[Any], most: int = SAMPLES) -> list[Any]:
    """Some of the rows, taken evenly."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int))
    return [rows[place] for place in places]


def shares(right: Sequence[Mapping[str, bool]], together: Sequence[Sequence[str]] = ()) -> dict[str, float]:
    """How often each fact is said right, all of them, and some together, of the captions that should say them."""
    names = list(dict.fromkeys(name for one in right for name in one))
    groups = {name: (name,) for name in names} | {"+".join(group): tuple(group) for group in together}
    if len(names) > 1:
        groups["all"] = tuple(names)
    found = {}
    for name, group in groups.items():
        told = [all(one[fact] for fact in group) for one in right if set(group) <= set(one)]
        if told:
            found[f"facts/{name}"] = float(np.mean(told))
    return found
