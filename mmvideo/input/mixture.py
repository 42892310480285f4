"""Mixture of the sources of a run into one corpus with consecutive clip numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int

from mmvideo.datasets.manifests.annotations import Annotations, merge
from mmvideo.input.annotations.moments import Moments
from mmvideo.input.annotations.numeric_targets import NumberTargets
from mmvideo.input.config import Source

if TYPE_CHECKING:
    from mmvideo.datasets.corpus import Corpus, Record


class CorpusMixture:
    """Several corpora, concatenated: clip `i` of source `s` has number `first[s] + i`.

    Attributes:
      corpora: the sources' corpora.
      first: number of each source's first clip, then the number of clips.
      seconds, has_video, has_audio, width, height, fps: properties of every clip, known before decoding.
      annotations: label types by sort, merged over the sources.
      classes: class names of each label type that has classes, merged over the sources.
      labels: class of every clip for each single-class label type, -1 where unknown.
      targets: numeric targets of the clips: several classes, or one value.
      moments: moments and saliency of the clips.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        classes: Mapping[str, Sequence[str]] | None = None,
        annotations: Annotations | None = None,
    ):
        """Number the clips of the corpora and merge their labels.

        Raises:
          ValueError: a label type has different sorts in different sources.
        """
        self.corpora = tuple(corpora)
        self.first = np.concatenate([[0], np.cumsum([len(c) for c in corpora])]).astype(np.int64)
        tables = [corpus.table for corpus in corpora]
        self.seconds = np.concatenate([np.asarray(t.seconds, np.float64) for t in tables])
        self.has_video = np.concatenate([np.asarray(t.has_video, bool) for t in tables])
        self.has_audio = np.concatenate([np.asarray(t.has_audio, bool) for t in tables])
        self.width = np.concatenate([np.asarray(t.width, np.int64) for t in tables])
        self.height = np.concatenate([np.asarray(t.height, np.int64) for t in tables])
        self.fps = np.concatenate([np.asarray(t.fps, np.float64) for t in tables])
        own = [corpus.classes for corpus in corpora]
        self.classes = _merged(own) if classes is None else {kind: list(names) for kind, names in classes.items()}
        self.annotations = self._sorted(classes, annotations)
        self.labels = {kind: self._renumbered(kind) for kind in self.annotations.single}
        self.targets = NumberTargets(self.corpora, self.first, self.classes, self.annotations)
        self.moments = Moments(self.corpora, self.first)

    def __len__(self) -> int:
        return int(self.first[-1])

    def locate(self, number: int) -> tuple[int, int]:
        """Return the source of a clip and the clip's index in it."""
        # first [0, 3, 5]: clip 4 is clip 1 of source 1.
        source = int(np.searchsorted(self.first, number, side="right")) - 1
        return source, number - int(self.first[source])

    def record(self, number: int) -> Record:
        """Return the clip's record: media bytes, captions and labels."""
        source, place = self.locate(number)
        return self.corpora[source][place]

    def clip_id(self, number: int) -> str:
        """Return the id of the clip in its corpus."""
        source, place = self.locate(number)
        return str(self.corpora[source].table.id[place])

    def captions(self, number: int) -> list[str]:
        """Return all captions of a clip."""
        source, place = self.locate(number)
        return list(self.corpora[source].table.captions[place])

    def events(self, number: int) -> list[dict[str, Any]]:
        """Return a clip's events from the manifest, with `start`, `end` (seconds) and `caption`; often none."""
        source, place = self.locate(number)
        return list(self.corpora[source].attributes(place).get("events") or [])

    def all_captions(self) -> list[list[str]]:
        """Return the captions of every clip."""
        return [list(captions) for corpus in self.corpora for captions in corpus.table.captions]

    def class_names(self, number: int) -> list[str]:
        """Return the names of the known classes of a clip."""
        single = [self.classes[kind][own[number]] for kind, own in self.labels.items() if own[number] >= 0]
        source, place = self.locate(number)
        corpus = self.corpora[source]
        several = [(corpus.classes[kind], own[place] or []) for kind, own in corpus.table.several.items()]
        return single + [names[one] for names, numbers in several for one in numbers]

    def targets_of(self, numbers: Int[np.ndarray, " e"]) -> dict[str, Float32[np.ndarray, "e _"]]:
        """Return the targets of these clips; see `NumberTargets.of`."""
        return self.targets.of(numbers)

    def _sorted(self, classes: Mapping[str, Sequence[str]] | None, annotations: Annotations | None) -> Annotations:
        """Return the label types of the corpora by sort, or the given ones, checked against the corpora."""
        own = [(str(getattr(c, "path", "the clips")), c.table.annotations) for c in self.corpora]
        if classes is None:
            return merge(own)
        trained = Annotations(single=tuple(classes)) if annotations is None else annotations
        merge([("the trained model", trained), *own])
        return trained

    def _renumbered(self, kind: str) -> Int[np.ndarray, " n"]:
        """Return the classes of one label type in the merged numbering."""
        number = {name: place for place, name in enumerate(self.classes[kind])}
        result = []
        for corpus in self.corpora:
            labels = corpus.table.labels.get(kind, np.full(len(corpus), -1))
            names = corpus.classes.get(kind, [])
            # The last entry maps -1, unknown, to itself. Own names [b, a], merged [a, b]: the table is [1, 0, -1].
            table = np.asarray([number.get(name, -1) for name in names] + [-1], np.int32)
            result.append(table[np.asarray(labels, np.int64)])
        return np.concatenate(result)


def _merged(classes: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return the class names of each label type in the order of the sources, each name once."""
    merged: dict[str, dict[str, None]] = {}
    for own in classes:
        for kind, names in own.items():
            merged.setdefault(kind, {}).update(dict.fromkeys(names))
    return {kind: list(names) for kind, names in merged.items()}


def epoch_counts(sources: Sequence[Source], lengths: Sequence[int]) -> list[int]:
    """Return the number of clips of each source in an epoch.

    Without weights every clip counts once. With weights an epoch has as many clips as all sources together, and each
    source has its share of them, rounded by the largest remainder.

    Raises:
      ValueError: only some sources have a weight, or a weight is not above 0.
    """
    weights = [source.weight for source in sources]
    if all(weight is None for weight in weights):
        return list(lengths)
    if any(weight is None or not weight > 0 for weight in weights):
        raise ValueError(f"sources have the weights {weights}; give every source a weight above 0, or none of them any")
    total = sum(lengths)
    exact = np.asarray(weights, np.float64) / sum(weights) * total
    # 10 clips with weights 1, 1, 1: exact is 3.33 each, floor 3 each; the one clip left goes to the first source.
    counts = np.floor(exact).astype(int)
    # `counts - exact` is most negative where the largest remainder was cut off.
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts.tolist()
