"""The protocol of evaluators, and the function that runs them.

An evaluator has a `name` and a `run`. Its result becomes `evals/NAME.json` and `evals/NAME.predictions.jsonl`. A new
kind of evaluation is one class with these two.
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
"""Largest number of skipped clips that the file of an evaluation lists; it counts all of them."""

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
    """A learner under evaluation, with a cache of its embeddings and predictions that evaluators share."""

    def __init__(self, learner: nnx.Module, place: Place | None = None) -> None:
        self.learner = learner
        self.place = place
        self._seen: dict[tuple[int, int | None], tuple[Any, Embeddings]] = {}
        self._asked: dict[tuple[int, PredictFn], tuple[Any, Predictions]] = {}

    def placed(self, stream: Any) -> Any:
        """Return a batch on the devices of the learner."""
        return stream if self.place is None else self.place(stream)

    def embeddings(self, batches: Any, limit: int | None = None) -> Embeddings:
        """Return `embed_corpus` of these batches, computed once."""
        key = (id(batches), limit)
        if key not in self._seen:
            # The cache also keeps the batches: a freed object's id may be given to another one.
            self._seen[key] = (batches, embed_corpus(self.learner, batches, self.place, limit))
        return self._seen[key][1]

    def answers(self, batches: Any, ask: PredictFn) -> Predictions:
        """Return `run_inference` of these batches, computed once."""
        # `ask` is compared by equality: two evaluators with the same decoding share one pass.
        key = (id(batches), ask)
        if key not in self._asked:
            self._asked[key] = (batches, run_inference(self.learner, batches, ask, self.place))
        return self._asked[key][1]


@runtime_checkable
class Evaluator(Protocol):
    """Protocol of one measurement of a learner."""

    name: str

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return the measurement; every process runs it alike."""
        ...


@dataclasses.dataclass(frozen=True)
class SubsetEvaluator:
    """Evaluator of some modalities only, or of other clips than the run's own, as its name says.

    Attributes:
      evaluator: The evaluator to run.
      modalities: Modalities that the model sees. None is all that there are.
      dataset: Name of the clips if they are not those that the run is evaluated on, else None.
      never_missing: Modalities that the model does not see, and that were never missing in training.
    """

    evaluator: Evaluator
    modalities: tuple[str, ...] | None = None
    dataset: str | None = None
    never_missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the evaluation, such as `retrieval.video+text` or `classification@samples`."""
        return subset_name(self.evaluator.name, self.modalities, self.dataset)

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return the measurement; its protocol names the objectives that these modalities can't answer."""
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
        """Return the objectives of this task that need unseen modalities, with these modalities."""
        found = {}
        for name, objective in subject.learner.objectives.items():
            if objective.kind != self.evaluator.name or not hasattr(objective, "require"):
                continue
            # require "any" of video and audio, audio not shown: video is enough, so the objective can still answer.
            lacking = [one for one in objective.modalities if one not in self.modalities]
            if lacking and (objective.require == "all" or len(lacking) == len(objective.modalities)):
                found[name] = lacking
        return found


def subset_name(name: str, modalities: tuple[str, ...] | None, dataset: str | None = None) -> str:
    """Return the name of an evaluation with only some modalities, or of other clips than the run's."""
    if dataset is not None:
        # A dataset such as `my clips/v2` must not make a folder: it becomes `my_clips_v2`.
        name += "@" + re.sub(r"[^\w-]+", "_", dataset)
    return name if modalities is None else f"{name}.{'+'.join(modalities)}"


def evaluate(
    evaluators: Iterable[Evaluator], learner: nnx.Module, place: Place | None, workdir: str | Path, step: int
) -> dict[str, EvaluationResult]:
    """Run evaluators one after another and write the files of each; return the results by name.

    Clips that could not be read are in the details as `skipped` (their number) and `skipped_clips` (id and reason of
    the first hundred), and are reported on stderr. Each process knows only its own; those of the first are written.
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
    """Return id and reason of each clip that could not be read, over all batches of an evaluator."""
    inner = evaluator.evaluator if isinstance(evaluator, SubsetEvaluator) else evaluator
    found: dict[str, str] = {}
    for held in vars(inner).values():
        for clip, reason in getattr(held, "skipped", ()):
            found.setdefault(clip, reason)
    return list(found.items())
