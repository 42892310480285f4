"""The one protocol of evaluators, and the files they leave in the workdir.

An evaluator has a `name` and a `run`. What it returns becomes `evals/NAME.json` and
`evals/NAME.predictions.jsonl`; a new kind of evaluation is one class with these two.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
from flax import nnx

from mmvideo.evaluation.collect import Answers, Ask, Place, collect
from mmvideo.evaluation.embed import Embeddings, embed_corpus


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """What an evaluator found.

    Attributes:
      metrics: value by name.
      predictions: one object a clip: `id`, `truth`, `scores`.
      protocol: what the metrics mean, in words and settings.
      dataset, split: what was evaluated.
      clips: how many clips were seen.
      details: what else a report shows, as JSON holds it: a confusion matrix, curves, samples.
    """

    metrics: dict[str, float | int]
    predictions: list[dict[str, Any]]
    protocol: dict[str, Any]
    dataset: str
    split: str
    clips: int
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """What `evals/NAME.json` holds, but for the step; a metric that is not finite is None."""
        return {
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "dataset": self.dataset,
            "split": self.split,
            "clips": self.clips,
            "protocol": self.protocol,
            **({"details": self.details} if self.details else {}),
        }


class Subject:
    """A learner under evaluation; what it makes of a corpus is computed once and shared by evaluators."""

    def __init__(self, learner: nnx.Module, place: Place | None = None) -> None:
        self.learner = learner
        self.place = place
        self._seen: dict[tuple[int, int | None], tuple[Any, Embeddings]] = {}
        self._asked: dict[tuple[int, Ask], tuple[Any, Answers]] = {}

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

    def answers(self, batches: Any, ask: Ask) -> Answers:
        """`collect` of these batches."""
        key = (id(batches), ask)
        if key not in self._asked:
            self._asked[key] = (batches, collect(self.learner, batches, ask, self.place))
        return self._asked[key][1]


@runtime_checkable
class Evaluator(Protocol):
    """Measures one thing about a learner."""

    name: str

    def run(self, subject: Subject) -> EvaluationResult:
        """The measurement; runs on every process alike."""
        ...


@dataclasses.dataclass(frozen=True)
class Partial:
    """An evaluator of other clips than the run's own, or which shows only some modalities; its name says which.

    Attributes:
      evaluator: what is measured.
      modalities: those that are shown; None for all that there are.
      dataset: what the clips are called, where they are not those that the run is evaluated on; None for those.
    """

    evaluator: Evaluator
    modalities: tuple[str, ...] | None = None
    dataset: str | None = None

    @property
    def name(self) -> str:
        """Such as `retrieval.video+text` or `classification@samples`."""
        return partial_name(self.evaluator.name, self.modalities, self.dataset)

    def run(self, subject: Subject) -> EvaluationResult:
        """The measurement."""
        result = self.evaluator.run(subject)
        if self.modalities is None:
            return result
        return dataclasses.replace(result, protocol=result.protocol | {"modalities": list(self.modalities)})


def partial_name(name: str, modalities: tuple[str, ...] | None, dataset: str | None = None) -> str:
    """The name of an evaluation of other clips than the run's, or in which only some modalities are shown."""
    if dataset is not None:
        name += "@" + re.sub(r"[^\w-]+", "_", dataset)
    return name if modalities is None else f"{name}.{'+'.join(modalities)}"


def evaluate(
    evaluators: Iterable[Evaluator], learner: nnx.Module, place: Place | None, workdir: str | Path, step: int
) -> dict[str, EvaluationResult]:
    """Runs evaluators one after another and writes each one's files; returns the results by name."""
    subject = Subject(learner, place)
    results = {}
    for evaluator in evaluators:
        results[evaluator.name] = evaluator.run(subject)
        write_result(workdir, evaluator.name, results[evaluator.name], step)
    return results


def write_result(workdir: str | Path, name: str, result: EvaluationResult, step: int) -> Path | None:
    """Writes `evals/NAME.json` and `evals/NAME.predictions.jsonl`, whole or not at all.

    Only the first process writes; the others return None. The metrics are written last, so that
    where they are, their predictions are too.
    """
    if jax.process_index() != 0:
        return None
    folder = Path(workdir) / "evals"
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in result.predictions)
    _replace(folder / f"{name}.predictions.jsonl", lines)
    whole = {**result.content(), "checkpoint_step": int(step)}
    _replace(folder / f"{name}.json", _laid_out(whole))
    return folder / f"{name}.json"


def measured(workdir: str | Path, name: str, step: int) -> dict[str, float | int | None] | None:
    """The metrics of `evals/NAME.json` if it is about this step already, else None."""
    try:
        written = json.loads((Path(workdir) / "evals" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return written["metrics"] if written.get("checkpoint_step") == step else None


def _laid_out(whole: dict[str, Any]) -> str:
    """JSON that is read by eye, but for the details: they are one last line, however large a matrix they hold."""
    head = {name: value for name, value in whole.items() if name != "details"}
    text = json.dumps(head, indent=2, ensure_ascii=False)
    if "details" in whole:
        text = f'{text[:-2]},\n  "details": {json.dumps(whole["details"], ensure_ascii=False)}\n}}'
    return text + "\n"


def _plain(value: Any) -> float | int | None:
    """A number that JSON knows; null for one that is not finite."""
    value = value.item() if hasattr(value, "item") else value
    return value if math.isfinite(value) else None


def _replace(path: Path, text: str) -> None:
    """Writes a file beside its place and moves it there in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
