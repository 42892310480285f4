"""Evaluators of predictions for whole clips: one class, several classes, or numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, softmax

from mmvideo.evaluation.inference import Predictions
from mmvideo.evaluation.metrics import classification, multilabel, regression
from mmvideo.evaluation.multi_view import mean_over_views, predictions, views_protocol
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.objectives import Classification, Regression

Average = Literal["probabilities", "logits"]
"""Quantity that is averaged over the views of a clip."""

SHOWN = 5
"""Number of classes of a clip that the predictions keep."""


@dataclasses.dataclass(frozen=True)
class ClassificationEvaluator:
    """Evaluator of accuracy, recall, F1, confusions and average precision of every classification objective.

    Attributes:
      batches: The held-out clips, one pass, with one or several views each.
      classes: Class names of each kind of label.
      dataset: Name of the dataset.
      split: Name of the split.
      average: Quantity that is averaged over the views of a clip.
      actions: Groups of objectives that must be right together, such as `("verb", "noun")`; their probabilities are
        multiplied.
    """

    batches: Any
    classes: Mapping[str, Sequence[str]]
    dataset: str
    split: str
    average: Average = "probabilities"
    actions: Sequence[Sequence[str]] = ()
    name: str = "classification"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return metrics `{objective}/{metric}` with the names of `metrics.classification` or `metrics.multilabel`.

        Raises:
          ValueError: The corpus lacks the label or has other classes than the objective, or an action names no
            objective.
        """
        found = subject.answers(self.batches, predictions)
        ids = [self.batches.clip_id(int(number)) for number in found.clip_index[found.first]]
        rows: list[dict[str, Any]] = [{"id": clip, "truth": {}, "scores": {}} for clip in ids]
        metrics, details = {}, {}
        protocol = {"average": f"of the {self.average} of a clip's views"} | views_protocol(found)
        known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, objective in subject.learner.objectives.items():
            if not isinstance(objective, Classification):
                continue
            names = self._names(name, objective)
            scores, truth = self._clips(found, name, objective)
            several = truth.ndim == 2
            measure = multilabel.multilabel_metrics if several else classification.classification_metrics
            own, details[name] = measure(scores, truth, names)
            metrics |= {f"{name}/{metric}": value for metric, value in own.items()}
            protocol[name] = multilabel.PROTOCOL if several else classification.PROTOCOL
            # Kept for the actions below, which multiply the probabilities of several objectives.
            known[name] = scores, truth
            _predict(rows, name, names, scores, truth)
        for together in self.actions:
            metrics |= _actions(together, known)
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, len(ids), details=details)

    def _names(self, name: str, objective: Classification) -> list[str]:
        """Return the names of the objective's classes."""
        if objective.label not in self.classes:
            have = ", ".join(self.classes) or "none"
            raise ValueError(f"objective {name!r}: {self.dataset} has no label {objective.label!r}; it has: {have}")
        names = list(self.classes[objective.label])
        if len(names) > objective.classes:
            raise ValueError(
                f"objective {name!r} has {objective.classes} classes, but {self.dataset} has {len(names)} of "
                f"{objective.label!r}"
            )
        # A model with 400 classes on a corpus with 10: the others get numbers as names, and may be predicted.
        return names + [f"class {number}" for number in range(len(names), objective.classes)]

    def _clips(
        self, found: Predictions, name: str, objective: Classification
    ) -> tuple[Float[np.ndarray, "m C"], Int[np.ndarray, " m"] | Float[np.ndarray, "m C"]]:
        """Return the probabilities of every clip and its truth, which is unknown for clips without a prediction."""
        answer = found.answers[name]
        probability = expit if objective.form == "sigmoid" else softmax
        logits = answer["logits"].astype(np.float64)
        # Logits are averaged before the softmax, probabilities after it: a very confident view weighs more in logits.
        if self.average == "logits":
            scores, known = mean_over_views(found, logits, answer["known"])
            scores = _probabilities(probability, scores)
        else:
            scores, known = mean_over_views(found, _probabilities(probability, logits), answer["known"])
        # Several labels are numbers in `targets` (NaN if unknown), one label a clip is an index in `labels` (-1 if
        # unknown).
        if objective.label in found.targets:
            return scores, np.where(known[:, None], found.targets[objective.label][found.first], np.nan)
        return scores, np.where(known, found.labels[objective.label][found.first], -1)


@dataclasses.dataclass(frozen=True)
class RegressionEvaluator:
    """Evaluator of error and correlation of every regression objective, with extra metrics for sentiments (-3 to 3).

    Attributes:
      batches: The held-out clips, one pass, with one or several views each.
      dataset: Name of the dataset.
      split: Name of the split.
    """

    batches: Any
    dataset: str
    split: str
    name: str = "regression"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return metrics `{objective}/{metric}` with the names of `metrics.regression`."""
        found = subject.answers(self.batches, predictions)
        ids = [self.batches.clip_id(int(number)) for number in found.clip_index[found.first]]
        rows: list[dict[str, Any]] = [{"id": clip, "truth": {}, "scores": {}} for clip in ids]
        metrics, details = {}, {}
        for name, objective in subject.learner.objectives.items():
            if not isinstance(objective, Regression):
                continue
            value, known = mean_over_views(found, found.answers[name]["value"], found.answers[name]["known"])
            truth = np.where(known, found.targets[objective.label][found.first, 0], np.nan)
            # CMU-MOSEI's range marks a sentiment; other numbers have no classes of their own.
            sentiment = objective.range is not None and tuple(objective.range) == (-3.0, 3.0)
            own, details[name] = regression.regression_metrics(value, truth, sentiment=sentiment)
            metrics |= {f"{name}/{metric}": number for metric, number in own.items()}
            for row, true, said in zip(rows, truth, value, strict=True):
                row["truth"][name] = None if np.isnan(true) else round(float(true), 6)
                row["scores"][name] = round(float(said), 6)
        protocol = regression.PROTOCOL | {"average": "of a clip's views"} | views_protocol(found)
        return EvaluationResult(metrics, rows, protocol, self.dataset, self.split, len(ids), details=details)


def _probabilities(how: Any, logits: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    return how(logits) if how is expit else how(logits, axis=-1)


def _predict(
    rows: list[dict[str, Any]], name: str, names: Sequence[str], scores: np.ndarray, truth: np.ndarray
) -> None:
    """Add the most probable classes of an objective, and the true ones, to the predictions."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :SHOWN]
    for row, order, own, true in zip(rows, best, scores, truth, strict=True):
        row["scores"][name] = {names[number]: round(float(own[number]), 6) for number in order}
        if truth.ndim == 2:
            row["truth"][name] = None if np.isnan(true).all() else [names[n] for n in np.flatnonzero(true == 1)]
        else:
            row["truth"][name] = names[int(true)] if true >= 0 else None


def _actions(together: Sequence[str], known: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float | int]:
    """Return the metrics of objectives that must be right together, under their joined names."""
    missing = [name for name in together if name not in known]
    if missing:
        have = ", ".join(known) or "none"
        raise ValueError(f"evaluation.actions: there is no classification objective {missing[0]!r}; there are: {have}")
    scores, truth = ({name: known[name][part] for name in together} for part in (0, 1))
    own = classification.action_metrics(scores, truth)
    return {f"{'+'.join(together)}/{metric}": value for metric, value in own.items()}
