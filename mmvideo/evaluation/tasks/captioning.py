"""Evaluators of generated texts: captions, and answers to questions."""

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
"""Facts that a caption states, as values by name; facts that it does not state are absent."""

SAMPLES = 12
"""Number of texts that a report shows, evenly spaced over the clips."""


@dataclasses.dataclass(frozen=True)
class Writing:
    """Function that generates texts with a captioning objective of a learner."""

    objective: str
    decoding: Decoding

    def __call__(self, learner: Any, stream: TokenStream) -> dict[str, Any]:
        """Return tokens `[B, E, T]`, the number of given ones, log probabilities, and a mask of clips with a text."""
        objective = learner.objectives[self.objective]
        found = objective.generate(learner.heads[self.objective], stream, learner.trunk, self.decoding)
        return {"text_tokens": found.text_tokens, "given": found.given, "score": found.score, "written": found.written}


@dataclasses.dataclass(frozen=True)
class GeneratedCaptions:
    """Generated texts of clips.

    Attributes:
      ids: Id of each clip.
      numbers: Index of each clip in the corpus.
      texts: Generated text of each clip.
      scores: Log probability of each text.
      without: Number of clips without a text.
    """

    ids: list[str]
    numbers: list[int]
    texts: list[str]
    scores: list[float]
    without: int


def write(subject: EvaluatedModel, batches: Any, objective: str, decoding: Decoding) -> GeneratedCaptions:
    """Return the texts that a captioning objective generates, one a clip, in the order of the corpus."""
    found = subject.answers(batches, Writing(objective, decoding))
    answers, tokenizer = found.answers, batches.tokenizer
    # A view without a text (`written` False) holds no meaningful tokens.
    rows = np.flatnonzero(answers["written"])
    # The given tokens (begin mark and prompt) are no part of the generated text.
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
    """Evaluator of captions against all references of their clip.

    Attributes:
      batches: The held-out clips without their text, one pass.
      objective: Name of the captioning objective.
      references: Captions of every clip, by its index.
      dataset: Name of the dataset.
      split: Name of the split.
      decoding: Settings of text generation.
      training: Captions seen in training, for the share of new captions. None if they are unknown; the protocol
        then says so.
      facts: Parser of the facts in a caption, for languages that are simple enough.
      together: Groups of facts that are also scored together: all of a group must be right.
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
        """Return the metrics of `metrics.captions.caption_metrics`, and `facts/{name}`.

        `facts/{name}` is the share of captions with the same value as the first reference, among clips whose first
        reference states the fact. `without_media` counts the clips without the captioned media.
        """
        found = write(subject, self.batches, self.objective, self.decoding)
        # `numbers` are indices into the corpus: clips that could not be read have no row here.
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
            protocol["novel"] = "left out: the training captions are unknown here"
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, clips, details={"samples": samples})

    def _facts(self, caption: str, references: Sequence[str]) -> dict[str, bool]:
        """Return, for each fact of the first reference, True if the caption states it with the same value."""
        if self.facts is None:
            return {}
        # Only facts of the reference are asked for: what a caption says beyond them is neither right nor wrong.
        said = self.facts(caption)
        return {name: said.get(name) == value for name, value in self.facts(references[0]).items()}


@dataclasses.dataclass(frozen=True)
class QuestionAnsweringEvaluator:
    """Evaluator of generated answers by exact match with the right ones, after the usual normalisation.

    Attributes:
      batches: The held-out clips with their questions, one pass.
      objective: Name of the captioning objective.
      references: Captions of every clip, by its index: a question, the mark, an answer.
      dataset: Name of the dataset.
      split: Name of the split.
      decoding: Settings of text generation.
    """

    batches: Any
    objective: str
    references: Sequence[Sequence[str]]
    dataset: str
    split: str
    decoding: Decoding = Decoding()
    name: str = "question_answering"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return the metrics of `metrics.captions.answers`, also by the first two words of the questions."""
        found = write(subject, self.batches, self.objective, self.decoding)
        # `what moves? <answer> a circle` splits into the question and the answer.
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
    """Return some of the rows, evenly spaced."""
    # 5 rows, at most 3: indices 0, 2, 4.
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int))
    return [rows[place] for place in places]


def shares(right: Sequence[Mapping[str, bool]], together: Sequence[Sequence[str]] = ()) -> dict[str, float]:
    """Return the share of right values of each fact, of all facts together, and of groups of facts.

    Each share is over the captions whose reference states these facts.
    """
    names = list(dict.fromkeys(name for one in right for name in one))
    # Facts shape and colour with together ("shape", "colour"): groups shape, colour, shape+colour and all.
    groups = {name: (name,) for name in names} | {"+".join(group): tuple(group) for group in together}
    if len(names) > 1:
        groups["all"] = tuple(names)
    found = {}
    for name, group in groups.items():
        hits = [all(one[fact] for fact in group) for one in right if set(group) <= set(one)]
        if hits:
            found[f"facts/{name}"] = float(np.mean(hits))
    return found
