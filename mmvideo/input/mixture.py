"""The sources of a run as one corpus, its clips numbered through."""

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
    """Several corpora one behind the other: clip `i` of source `s` has number `first[s] + i`.

    Attributes:
      corpora: the sources' corpora.
      first: number of each source's first clip, and the number of clips.
      seconds, has_video, has_audio, width, height, fps: what is known of every clip before it is decoded.
      annotations: the kinds of labels by their sort, merged over the sources.
      classes: the class names of each kind of label that has classes, merged over the sources.
      labels: class of every clip for each kind of which a clip has one, -1 where unknown.
      targets: what is to be predicted of the clips as numbers, where a clip may have several classes or a number.
      moments: what of the clips their captions tell of.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        classes: Mapping[str, Sequence[str]] | None = None,
        annotations: Annotations | None = None,
    ):
        """Args:
          corpora: the sources' corpora; at least one.
          classes: the numbering of classes to keep to, that of the run a model was trained in. A class that
            it lacks is unknown (-1).
          annotations: the kinds of labels to keep to, with `classes`; None takes all of those for kinds of one class.

        Raises:
          ValueError: a kind is of one sort here and of another there.
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
        """The source of a clip and its place there."""
        source = int(np.searchsorted(self.first, number, side="right")) - 1
        return source, number - int(self.first[source])

    def record(self, number: int) -> Record:
        """The clip's record: media bytes, captions and labels."""
        source, place = self.locate(number)
        return self.corpora[source][place]

    def clip_id(self, number: int) -> str:
        """The id that the clip has in its corpus."""
        source, place = self.locate(number)
        return str(self.corpora[source].table.id[place])

    def captions(self, number: int) -> list[str]:
        """All captions of a clip."""
        source, place = self.locate(number)
        return list(self.corpora[source].table.captions[place])

    def events(self, number: int) -> list[dict[str, Any]]:
        """What the manifest tells of a clip's events, with `start`, `end` (seconds) and `caption`; often none."""
        source, place = self.locate(number)
        return list(self.corpora[source].attributes(place).get("events") or [])

    def all_captions(self) -> list[list[str]]:
        """The captions of every clip."""
        return [list(captions) for corpus in self.corpora for captions in corpus.table.captions]

    def class_names(self, number: int) -> list[str]:
        """The names of the classes that a clip is known to be in."""
        single = [self.classes[kind][own[number]] for kind, own in self.labels.items() if own[number] >= 0]
        source, place = self.locate(number)
        corpus = self.corpora[source]
        several = [(corpus.classes[kind], own[place] or []) for kind, own in corpus.table.several.items()]
        return single + [names[one] for names, numbers in several for one in numbers]

    def targets_of(self, numbers: Int[np.ndarray, " e"]) -> dict[str, Float32[np.ndarray, "e _"]]:
        """The targets of the clips with these numbers; see `NumberTargets.of`."""
        return self.targets.of(numbers)

    def _sorted(self, classes: Mapping[str, Sequence[str]] | None, annotations: Annotations | None) -> Annotations:
        """The kinds of the corpora by their sort, or those that were given, held to the corpora's."""
        own = [(str(getattr(c, "path", "the clips")), c.table.annotations) for c in self.corpora]
        if classes is None:
            return merge(own)
        trained = Annotations(single=tuple(classes)) if annotations is None else annotations
        merge([("the trained model", trained), *own])
        return trained

    def _renumbered(self, kind: str) -> Int[np.ndarray, " n"]:
        """Classes of one kind in the merged numbering."""
        number = {name: place for place, name in enumerate(self.classes[kind])}
        result = []
        for corpus in self.corpora:
            labels = corpus.table.labels.get(kind, np.full(len(corpus), -1))
            names = corpus.classes.get(kind, [])
            # The last entry stands for -1, the unknown.
            table = np.asarray([number.get(name, -1) for name in names] + [-1], np.int32)
            result.append(table[np.asarray(labels, np.int64)])
        return np.concatenate(result)


def _merged(classes: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Class names of each kind in the order in which the sources bring them, each name once."""
    merged: dict[str, dict[str, None]] = {}
    for own in classes:
        for kind, names in own.items():
            merged.setdefault(kind, {}).update(dict.fromkeys(names))
    return {kind: list(names) for kind, names in merged.items()}


def epoch_counts(sources: Sequence[Source], lengths: Sequence[int]) -> list[int]:
    """Clips of each source in an epoch.

    Without weights every clip counts once. With weights an epoch is as long as all sources together,
    and each source has its share of it, rounded by largest remainder.

    Raises:
      ValueError: weights for some sources only, or weights that are not above 0.
    """
    weights = [source.weight for source in sources]
    if all(weight is None for weight in weights):
        return list(lengths)
    if any(weight is None or not weight > 0 for weight in weights):
        raise ValueError(f"sources have the weights {weights}; give every source a weight above 0, or none of them any")
    total = sum(lengths)
    exact = np.asarray(weights, np.float64) / sum(weights) * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts.tolist()
