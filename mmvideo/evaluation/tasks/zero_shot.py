"""Zero-shot classification of each clip as the class whose name, in prompts, is the most similar.

As in CLIP (Radford et al. 2021, section 3.1.4), the unit embeddings of all prompts of a class are averaged, and their
mean is normalised to a unit vector.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmvideo.evaluation.embeddings import Embeddings
from mmvideo.evaluation.metrics.classification import classification_metrics
from mmvideo.evaluation.retrieval.texts import embed_texts, text_batches
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.objectives.components.modality_groups import group_and_space

PROMPTS: tuple[str, ...] = ("{}", "a video of {}", "the sound of {}")
"""Default prompts for class names."""

_LIKELIEST = 5


@dataclasses.dataclass(frozen=True)
class ZeroShotEvaluator:
    """Evaluator of classification by class names alone, for every kind of label and every embedded group of media.

    Attributes:
      batches: The held-out clips, one pass.
      kinds: Kinds of label.
      dataset: Name of the dataset.
      split: Name of the split.
      prompts: Prompts with `{}` for the class name; underscores in a name become spaces.
    """

    batches: Any
    kinds: Sequence[str]
    dataset: str
    split: str
    prompts: tuple[str, ...] = PROMPTS
    name: str = "zero_shot"

    def __post_init__(self) -> None:
        wrong = [prompt for prompt in self.prompts if prompt.count("{}") != 1]
        if wrong or not self.prompts:
            said = f"{wrong[0]!r} must have exactly one place" if wrong else "is empty; give a prompt with one place"
            raise ValueError(f"evaluation.prompts {said} for the class name, written {{}}")
        # A kind with several classes a clip has no single right name.
        single = [kind for kind in self.batches.classes if kind not in self.batches.annotations.several]
        lacking = sorted(set(self.kinds) - set(single))
        if lacking:
            have = ", ".join(single) or "none"
            raise ValueError(
                f"evaluation.zero_shot names the label '{lacking[0]}', which {self.dataset} lacks; it has: {have}"
            )

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return metrics `{kind}/{group}/{name}` for every name of `classification_metrics`.

        Predictions are the likeliest classes with their cosines. A clip that lacks the group or the label is left out,
        and counted in `left_out`.

        Raises:
          ValueError: No contrastive objective of the learner embeds text.
        """
        found = subject.embeddings(self.batches)
        vectors = embed_texts(subject, self._text_batches)
        metrics: dict[str, float | int] = {}
        predictions: list[dict[str, Any]] = [{"id": clip, "truth": {}, "scores": {}} for clip in found.ids]
        start = 0
        for kind in self.kinds:
            names = self.batches.classes[kind]
            own = vectors[start : start + len(names) * len(self.prompts)]
            # Texts are ordered by kind, class and prompt: 2 kinds of 3 and 4 classes with 3 prompts have 9 and 12
            # vectors.
            start += len(own)
            classes = mean_direction(own.reshape(len(names), len(self.prompts), -1))
            for clip, truth in enumerate(found.labels[kind]):
                predictions[clip]["truth"][kind] = names[truth] if truth >= 0 else None
            for group in _media(found):
                metrics |= self._classify(found, kind, group, classes, predictions)
        return EvaluationResult(metrics, predictions, self._protocol(), self.dataset, self.split, len(found.ids))

    @functools.cached_property
    def _text_batches(self) -> Any:
        """All prompts of all classes, by kind and class."""
        words = [
            prompt.replace("{}", name.replace("_", " "))
            for kind in self.kinds
            for name in self.batches.classes[kind]
            for prompt in self.prompts
        ]
        return text_batches(self.batches, words)

    def _classify(
        self,
        found: Embeddings,
        kind: str,
        group: str,
        classes: Float[np.ndarray, "C d"],
        predictions: list[dict[str, Any]],
    ) -> dict[str, float | int]:
        """Return the metrics of one kind and group; add the likeliest classes and their cosines to the predictions."""
        names = self.batches.classes[kind]
        rows = np.flatnonzero(found.present[group])
        if not len(rows):
            return {}
        scores = found.vectors[group][rows].astype(np.float64) @ classes.T
        metrics, _ = classification_metrics(scores, found.labels[kind][rows], names)
        # classification_metrics counts clips without a label; these are labelled clips without the group.
        metrics["left_out"] += int(((found.labels[kind] >= 0) & ~found.present[group]).sum())
        order = np.argsort(-scores, axis=1, kind="stable")[:, :_LIKELIEST]
        for row, clip in enumerate(rows):
            likeliest = {names[place]: round(float(scores[row, place]), 6) for place in order[row]}
            predictions[clip]["scores"][f"{kind}/{group}"] = likeliest
        return {f"{kind}/{group}/{name}": value for name, value in metrics.items()}

    def _protocol(self) -> dict[str, Any]:
        return {
            "prompts": list(self.prompts),
            "ensemble": "mean of the unit embeddings of a class's prompts, normalised to a unit vector",
            "similarity": "cosine of a clip's embedding and its class's",
            "missing": "clips that lack the group of media or the label are left out, counted in left_out",
        }


def mean_direction(vectors: Float[np.ndarray, "n p d"]) -> Float[np.ndarray, "n d"]:
    """Return the mean of `p` unit vectors as a unit vector; 0 if they cancel out."""
    mean = vectors.astype(np.float64).mean(axis=1)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)


def _media(found: Embeddings) -> list[str]:
    """Return the embedded groups without text in the main space, which is the one that has text."""
    return [name for name in found.vectors if not group_and_space(name)[1] and "text" not in name.split("+")]
