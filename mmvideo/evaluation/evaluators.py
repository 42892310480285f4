"""The evaluators: zero-shot retrieval, and probes of frozen features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmvideo.evaluation import probes
from mmvideo.evaluation import retrieval as search
from mmvideo.evaluation.embed import Embeddings
from mmvideo.evaluation.runner import EvaluationResult, Subject


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Zero-shot retrieval in every direction that the learner embeds.

    Attributes:
      batches: the held-out clips, one pass.
      dataset, split: what they are called.
      oracle: what the best possible model would score, by names such as `text_to_video/r@1`.
      best: entries of each ranking that are kept in the predictions.
    """

    batches: Any
    dataset: str
    split: str
    oracle: Mapping[str, float] | None = None
    best: int = 5
    name: str = "retrieval"

    def run(self, subject: Subject) -> EvaluationResult:
        """Metrics of `retrieval`; each clip's predictions are its ranks and best-ranked clips."""
        found = subject.embeddings(self.batches)
        metrics = search.retrieval(found.vectors, found.present, self.oracle)
        rows = [{"id": clip, "truth": clip, "ranks": {}, "scores": {}} for clip in found.ids]
        for source, target in search.directions(list(found.vectors)):
            self._predict(found, source, target, rows)
        return EvaluationResult(metrics, rows, search.PROTOCOL, self.dataset, self.split, len(found.ids))

    def _predict(self, found: Embeddings, source: str, target: str, predictions: list[dict[str, Any]]) -> None:
        """Adds the ranks and the best-ranked clips of one direction."""
        both = np.flatnonzero(found.present[source] & found.present[target])
        query, gallery = found.vectors[source][both], found.vectors[target][both]
        worst, _ = search.ranks(query, gallery, both, both)
        entries, similarity = search.most_similar(query, gallery, self.best)
        for row, clip in enumerate(both):
            direction = f"{source}_to_{target}"
            predictions[clip]["ranks"][direction] = int(worst[row])
            predictions[clip]["scores"][direction] = {
                found.ids[both[entry]]: round(float(score), 6)
                for entry, score in zip(entries[row], similarity[row], strict=True)
            }


@dataclasses.dataclass(frozen=True)
class Probes:
    """Linear and k-NN probes of the frozen features, for every kind of label and every modality.

    Attributes:
      train, test: the clips that a probe learns from and is tested on, one pass each.
      kinds: kinds of label.
      dataset, split: what the test clips are called.
      clips: at most about so many training clips.
      neighbours: voters of the k-NN probe.
      classes: names of the classes of each kind, for the predictions.
      oracle: what the best possible model would score, by names such as `visual/video/accuracy`.
    """

    train: Any
    test: Any
    kinds: Sequence[str]
    dataset: str
    split: str
    clips: int = 2000
    neighbours: int = 10
    classes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    oracle: Mapping[str, float] | None = None
    name: str = "probes"

    def run(self, subject: Subject) -> EvaluationResult:
        """Metrics `{kind}/{modality}/{linear or knn}/{name}` for every name of `probes.classification`.

        Also `{kind}/{modality}/oracle` where it is known.
        """
        train, test = subject.embeddings(self.train, self.clips), subject.embeddings(self.test)
        metrics: dict[str, float | int] = {}
        predictions: list[dict[str, Any]] = [{"id": clip, "truth": {}, "scores": {}} for clip in test.ids]
        for kind in self.kinds:
            for clip, truth in enumerate(_labels(test, kind)):
                predictions[clip]["truth"][kind] = self._class(kind, truth)
            for modality in _groups(train):
                if f"{kind}/{modality}/accuracy" in (self.oracle or {}):
                    metrics[f"{kind}/{modality}/oracle"] = float(self.oracle[f"{kind}/{modality}/accuracy"])
                for probe, found, rows in self._probe(train, test, kind, modality):
                    metrics |= {f"{kind}/{modality}/{probe}/{name}": value for name, value in found.metrics.items()}
                    for clip, answer in zip(rows, found.answer, strict=True):
                        predictions[clip]["scores"][f"{kind}/{modality}/{probe}"] = self._class(kind, answer)
        protocol = probes.PROTOCOL | {"training_clips": len(train.ids), "neighbours": self.neighbours}
        return EvaluationResult(metrics, predictions, protocol, self.dataset, self.split, len(test.ids))

    def _probe(
        self, train: Embeddings, test: Embeddings, kind: str, modality: str
    ) -> Iterable[tuple[str, probes.Probe, np.ndarray]]:
        """Both probes of one kind and modality, with the rows of the test clips they answered."""
        inputs, has = _features(train, modality)
        outputs, rows = _features(test, modality)
        truth, wanted = _labels(train, kind)[has], _labels(test, kind)[rows]
        # A split in which no clip with this modality is labelled has nothing to measure.
        if len(np.unique(truth[truth >= 0])) < 2 or not (wanted >= 0).any():
            return
        yield "linear", probes.linear_probe(inputs, truth, outputs, wanted), rows
        yield "knn", probes.knn_probe(inputs, truth, outputs, wanted, self.neighbours), rows

    def _class(self, kind: str, number: int | np.integer) -> str | int | None:
        """Name of a class, its number where it has none, None where it is unknown."""
        names = self.classes.get(kind, ())
        if number < 0:
            return None
        return names[number] if number < len(names) else int(number)


def _groups(found: Embeddings) -> list[str]:
    """Names of the features to probe: those the learner gives, and video and sound side by side."""
    groups = list(found.features)
    if {"video", "audio"} <= set(groups) and "video+audio" not in groups:
        groups.append("video+audio")
    return groups


def _features(found: Embeddings, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of the clips that have them, and the rows of these clips."""
    if modality in found.features:
        rows = np.flatnonzero(found.featured[modality])
        return found.features[modality][rows], rows
    parts = modality.split("+")
    rows = np.flatnonzero(np.all([found.featured[part] for part in parts], axis=0))
    return np.concatenate([found.features[part][rows] for part in parts], axis=1), rows


def _labels(found: Embeddings, kind: str) -> np.ndarray:
    """Classes of one kind.

    Raises:
      ValueError: the corpus has no such label.
    """
    if kind not in found.labels:
        have = ", ".join(sorted(found.labels)) or "none"
        raise ValueError(f"evaluation.probes names the label '{kind}', which the corpus lacks; it has: {have}")
    return found.labels[kind]
