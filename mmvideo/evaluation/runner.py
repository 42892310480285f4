"""The one protocol of evaluators, and what runs them.

An evaluator has a `name` and a `run`. What it returns becomes `evals/NAME.json` and
`evals/NAME.predictions.jsonl`; a new kind of evaluation is one class with these two.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flax import nnx

from mmvideo.evaluation.embeddings import Embeddings, embed_corpus
from mmvideo.evaluation.inference import Place, PredictFn, Predictions, run_inference
from mmvideo.evaluation.results import EvaluationResult, write_result

LISTED = 100
"""Skipped clips that the file of an evaluation names; beyond them it only counts."""

__all__ = [
    "EvaluationResult",
    "Evaluator",
    "SubsetEvaluator",
    "EvaluatedModel",
    "evaluate",
    "subset_name",
    "write_result",
]


class EvaluatedModel:
    """A learner under evaluation; what it makes of a corpus is computed once and shared by evaluators."""

    def __init__(self, learner: nnx.Module, place: Place | None = None) -> None:
        self.learner = learner
        self.place = place
        self._seen: dict[tuple[int, int | None], tuple[Any, Embeddings]] = {}
        self._asked: dict[tuple[int, PredictFn], tuple[Any, Predictions]] = {}

    def placed(self, stream: Any) -> Any:
        """A batch where the learner is."""
        return stream if self.place is None else self.place(stream)

    def embeddings(self, batches: Any, limit: int | None = None) -> Embeddings:
        """`embed_corpus` of these batches."""
        key = (id(batches), limit)
        if key not in self._seen:
            # The batches are kept beside their embeddings, so that no other object takes over their id.
            self._seen[key] = (batches, embed_corpus(self.learner, batches, self.place, limit))
        return self._seen[key][1]

    def answers(self, batches: Any, ask: PredictFn) -> Predictions:
        """`run_inference` of these batches."""
        key = (id(batches), ask)
        if key not in self._asked:
            self._asked[key] = (batches, run_inference(self.learner, batches, ask, self.place))
        return self._asked[key][1]


@runtime_checkable
class Evaluator(Protocol):
    """Measures one thing about a learner."""

    name: str

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """The measurement; runs on every process alike."""
        ...


@dataclasses.dataclass(frozen=True)
class SubsetEvaluator:
    """An evaluator of other clips than the run's own, or which shows only some modalities; its name says which.

    Attributes:
      evaluator: what is measured.
      modalities: those that are shown; None for all that there are.
      dataset: what the clips are called, where they are not those that the run is evaluated on; None for those.
      never_missing: modalities that are not shown, and without which the run was never trained.
    """

    evaluator: Evaluator
    modalities: tuple[str, ...] | None = None
    dataset: str | None = None
    never_missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as `retrieval.video+text` or `classification@samples`."""
        return subset_name(self.evaluator.name, self.modalities, self.dataset)

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """The measurement; its protocol names the objectives that can't answer by what is shown."""
        result = self.evaluator.run(subject)
        if self.modalities is None:
            return result
        said: dict[str, Any] = {"modalities": list(self.modalities)}
        if lacking := self._unanswered(subject):
            said["not_answerable"] = lacking
        if self.never_missing:
            said["never_missing"] = list(self.never_missing)
        return dataclasses.replace(result, protocol=result.protocol | said)

    def _unanswered(self, subject: EvaluatedModel) -> dict[str, list[str]]:
        """Objectives of this task that need modalities which are not shown, with those."""
        found = {}
        for name, objective in subject.learner.objectives.items():
            if objective.kind != self.evaluator.name or not hasattr(objective, "require"):
                continue
            lacking = [one for one in objective.modalities if one not in self.modalities]
            if lacking and (objective.require == "all" or len(lacking) == len(objective.modalities)):
                found[name] = lacking
        return found


def subset_name(name: str, modalities: tuple[str, ...] | None, dataset: str | None = None) -> str:
    """The name of an evaluation of other clips than the run's, or in which only some modalities are shown."""
    if dataset is not None:
        name += "@" + re.sub(r"[^\w-]+", "_", dataset)
    return name if modalities is None else f"{name}.{'+'.join(modalities)}"


def evaluate(
    evaluators: Iterable[Evaluator], learner: nnx.Module, place: Place | None, workdir: str | Path, step: int
) -> dict[str, EvaluationResult]:
    """Runs evaluators one after another and writes each one's files; returns the results by name.

    Clips that gave nothing are in the details, `skipped` (how many) and `skipped_clips` (id and reason of the first
    hundred), and said on stderr. Of several processes each knows its own, and the first one's are written.
    """
    subject = EvaluatedModel(learner, place)
    results = {}
    for evaluator in evaluators:
        result = evaluator.run(subject)
        if skipped := skipped_clips(evaluator):
            listed = [{"id": clip, "reason": reason} for clip, reason in skipped[:LISTED]]
            more = {"skipped": len(skipped), "skipped_clips": listed}
            result = dataclasses.replace(result, details=result.details | more)
            clip, reason = skipped[0]
            print(f"{evaluator.name}: {len(skipped)} clips give nothing, such as {clip}: {reason}", file=sys.stderr)
        results[evaluator.name] = result
        write_result(workdir, evaluator.name, results[evaluator.name], step)
    return results


def skipped_clips(evaluator: Evaluator) -> list[tuple[str, str]]:
    """Return ids and reasons of the clips that gave nothing, of all the batches that an evaluator holds."""
    inner = evaluator.evaluator if isinstance(evaluator, SubsetEvaluator) else evaluator
    found: dict[str, str] = {}
    for held in vars(inner).values():
        for clip, reason in getattr(held, "skipped", ()):
            found.setdefault(clip, reason)
    return list(found.items())
