"""Evaluators of retrieval, and of probes on frozen features."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from mmvideo.evaluation.embeddings import Embeddings
from mmvideo.evaluation.retrieval import recall_at_k, reranking
from mmvideo.evaluation.retrieval.dual_softmax import SCALE
from mmvideo.evaluation.retrieval.texts import MEANING, Texts, Which, embed_texts, text_batches, texts_of
from mmvideo.evaluation.runner import EvaluatedModel, EvaluationResult
from mmvideo.evaluation.tasks import probes


@dataclasses.dataclass(frozen=True)
class RetrievalEvaluator:
    """Evaluator of retrieval in every direction between the embeddings of a learner.

    Attributes:
      batches: The held-out clips, one pass.
      dataset: Name of the dataset.
      split: Name of the split.
      oracle: Scores of the best possible model with the first captions, by names such as `text_to_video/r@1`.
      best: Number of entries of each ranking that the predictions keep.
      captions: Texts of a clip: the first caption, all of them, or all as one paragraph.
      dual_softmax: Scale of the dual softmax. None leaves its rows out.
      rerank: Number of candidates of each query that the matching head scores again; 0 turns it off.
      modalities: Modalities of the clips in `batches` that the model sees. None is all that they have.
    """

    batches: Any
    dataset: str
    split: str
    oracle: Mapping[str, float] | None = None
    best: int = 5
    captions: Which = "first"
    dual_softmax: float | None = SCALE
    rerank: int = 0
    modalities: tuple[str, ...] | None = None
    name: str = "retrieval"

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return the metrics of `recall_at_k.retrieval`; the predictions of a clip are its ranks and best-ranked clips.

        With `rerank`, there are also `{direction}/reranked/…` for the directions that a matching head compares. With
        all captions, the prediction for text is a list over the captions of the clip; an entry's id ends in the number
        of the caption, from 1.

        Raises:
          ValueError: `rerank` is set, and there is no matching objective.
        """
        found = subject.embeddings(self.batches)
        directions = recall_at_k.directions_of(self._sides(subject, found), len(found.ids), jax.sharding.get_mesh())
        # The oracle's scores are for first captions; other texts have other ceilings.
        oracle = self.oracle if self.captions == "first" else None
        metrics = recall_at_k.retrieval(directions, oracle, dual_softmax=self.dual_softmax)
        rows = [{"id": clip, "truth": clip, "ranks": {}, "scores": {}} for clip in found.ids]
        for one in directions:
            entries, similarity = one.most_similar(self.best)
            self._predict(found.ids, one, one.name, one.ranking.worst, entries, similarity, rows)
        again = self._rerank(subject, found, directions, rows)
        protocol = self._protocol(directions, metrics | again)
        return EvaluationResult(metrics | again, rows, protocol, self.dataset, self.split, len(found.ids))

    def _sides(self, subject: EvaluatedModel, found: Embeddings) -> dict[str, recall_at_k.Side]:
        """Return the embeddings of each side; their clips are rows of `found`."""
        sides = recall_at_k.sides(found.vectors, found.present)
        if "text" not in sides or not len(sides["text"].clip):
            return sides
        texts = self._texts
        # found.clip_index [2, 5, 8] (clips that were read), texts of clips [2, 4, 8]: row [0, 1, 2]. Clip 4 was not
        # read, which the next line finds: clip_index[1] is 5, not 4.
        row = np.searchsorted(found.clip_index, texts.clip).clip(max=len(found.clip_index) - 1)
        kept = np.flatnonzero((found.clip_index[row] == texts.clip) & found.present["text"][row])
        words = np.array(texts.words, object)[kept]
        if self.captions == "first":
            vectors = found.vectors["text"][row[kept]]
        else:
            # First captions were embedded with their clips; other texts need a pass of their own.
            vectors = embed_texts(subject, self._text_batches)[kept]
        return sides | {"text": recall_at_k.Side(vectors, row[kept], words)}

    @functools.cached_property
    def _texts(self) -> Texts:
        return texts_of(self.batches, self.captions)

    @functools.cached_property
    def _text_batches(self) -> Any:
        return text_batches(self.batches, self._texts.words)

    def _rerank(
        self,
        subject: EvaluatedModel,
        found: Embeddings,
        directions: Sequence[recall_at_k.Direction],
        predictions: list[dict[str, Any]],
    ) -> dict[str, float | int]:
        """Return the metrics of the directions that the matching head scores; add its scores to the predictions."""
        if not self.rerank:
            return {}
        _, matching = reranking.matching_of(subject.learner.objectives)
        asked = [one for one in directions if reranking.is_matched(one, matching) and len(one.query.clip)]
        lists = [(one, reranking.shortlist(one, self.rerank)) for one in asked]
        judged = reranking.match_logits(subject, self.batches, found.clip_index, lists, self.modalities)
        metrics: dict[str, float | int] = {}
        for (one, entries), odds in zip(lists, judged, strict=True):
            worst, best = reranking.reranked(one, entries, odds)
            own = recall_at_k.rank_metrics(worst, best)
            metrics |= {f"{one.name}/reranked/{name}": value for name, value in own.items()}
            # The predictions show the shortlist in the order of the matching head.
            order = np.argsort(-odds, axis=1, kind="stable")[:, : self.best]
            first = (np.take_along_axis(values, order, axis=1) for values in (entries, odds))
            self._predict(found.ids, one, f"{one.name}/reranked", worst, *first, predictions)
        return metrics

    def _predict(
        self,
        ids: Sequence[str],
        direction: recall_at_k.Direction,
        name: str,
        ranks: Int[np.ndarray, "n"],
        entries: Int[np.ndarray, "n k"],
        scores: Float[np.ndarray, "n k"],
        predictions: list[dict[str, Any]],
    ) -> None:
        """Add the ranks and the best-ranked entries of one direction to the predictions of its queries' clips."""
        names = [ids[clip] for clip in direction.gallery.clip]
        if self.captions == "all" and direction.target == "text":
            # Three captions of clip `a` are the entries `a 1`, `a 2` and `a 3`.
            names = [f"{clip} {number}" for clip, number in zip(names, _counted(direction.gallery.clip), strict=True)]
        for query, clip in enumerate(direction.query.clip):
            shown = zip(entries[query], scores[query], strict=True)
            values = int(ranks[query]), {names[entry]: _rounded(score) for entry, score in shown}
            for kind, value in zip(("ranks", "scores"), values, strict=True):
                if self.captions == "all" and direction.source == "text":
                    predictions[clip][kind].setdefault(name, []).append(value)
                else:
                    predictions[clip][kind][name] = value

    def _protocol(
        self, directions: Sequence[recall_at_k.Direction], metrics: Mapping[str, float | int]
    ) -> dict[str, Any]:
        """Return a description of the measurement."""
        protocol: dict[str, Any] = dict(recall_at_k.PROTOCOL)
        if any("text" in (one.source, one.target) for one in directions):
            words, length = self._texts.words, self.batches.config.text.length
            cut = self._texts.cut(self.batches)
            protocol["captions"] = MEANING[self.captions]
            protocol["texts"] = f"{len(words)} texts, of which {cut} were cut to {length} tokens (input.text.length)"
        if any("/distinct/" in name for name in metrics):
            protocol["distinct"] = recall_at_k.DISTINCT
        if any("/by_clip/" in name for name in metrics):
            protocol["by_clip"] = recall_at_k.BY_CLIP
        if self.dual_softmax is not None:
            protocol["dsl"] = recall_at_k.DUAL_SOFTMAX.format(scale=self.dual_softmax)
        if self.rerank:
            judged = sorted({name.split("/")[0] for name in metrics if "/reranked/" in name})
            protocol["reranked"] = reranking.PROTOCOL.format(k=self.rerank, directions=", ".join(judged) or "none")
        return protocol


def _rounded(score: float) -> float | None:
    """Return a score for a JSON file; None if it is not finite, which JSON can't express."""
    return round(float(score), 6) if np.isfinite(score) else None


def _counted(clips: Int[np.ndarray, "m"]) -> Iterable[int]:
    """Yield the number of each entry among those of its clip, from 1."""
    # Clips [4, 4, 7, 4] give 1, 2, 1, 3.
    seen: dict[int, int] = {}
    for clip in clips.tolist():
        seen[clip] = seen.get(clip, 0) + 1
        yield seen[clip]


@dataclasses.dataclass(frozen=True)
class ProbeEvaluator:
    """Evaluator of linear and k-NN probes of frozen features, for every kind of label and every modality.

    Attributes:
      train: Clips to fit the probes on, one pass.
      test: Clips to test the probes on, one pass.
      kinds: Kinds of label.
      dataset: Name of the test clips' dataset.
      split: Name of the test clips' split.
      clips: Approximate largest number of training clips.
      neighbours: Number of neighbours of the k-NN probe.
      classes: Class names of each kind, for the predictions.
      oracle: Scores of the best possible model, by names such as `visual/video/accuracy`.
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

    def run(self, subject: EvaluatedModel) -> EvaluationResult:
        """Return metrics `{kind}/{modality}/{linear or knn}/{name}` for every name of `probes.classification`.

        There is also `{kind}/{modality}/oracle` where it is known.
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
        """Yield both probes of one kind and modality, with the rows of the test clips that they predict."""
        inputs, has = _features(train, modality)
        outputs, rows = _features(test, modality)
        truth, wanted = _labels(train, kind)[has], _labels(test, kind)[rows]
        # Nothing can be measured in a split without labelled clips of this modality.
        if len(np.unique(truth[truth >= 0])) < 2 or not (wanted >= 0).any():
            return
        yield "linear", probes.linear_probe(inputs, truth, outputs, wanted), rows
        yield "knn", probes.knn_probe(inputs, truth, outputs, wanted, self.neighbours), rows

    def _class(self, kind: str, number: int | np.integer) -> str | int | None:
        """Return the name of a class, its index if it has no name, None if it is unknown."""
        names = self.classes.get(kind, ())
        if number < 0:
            return None
        return names[number] if number < len(names) else int(number)


def _groups(found: Embeddings) -> list[str]:
    """Return the names of the features to probe: those of the learner, and video and audio concatenated."""
    groups = list(found.features)
    if {"video", "audio"} <= set(groups) and "video+audio" not in groups:
        groups.append("video+audio")
    return groups


def _features(found: Embeddings, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the clips that have them, and the rows of these clips."""
    if modality in found.features:
        rows = np.flatnonzero(found.featured[modality])
        return found.features[modality][rows], rows
    parts = modality.split("+")
    rows = np.flatnonzero(np.all([found.featured[part] for part in parts], axis=0))
    # Features of width 192 of video and of audio make one of 384 for the clips that have both.
    return np.concatenate([found.features[part][rows] for part in parts], axis=1), rows


def _labels(found: Embeddings, kind: str) -> np.ndarray:
    """Return the classes of one kind.

    Raises:
      ValueError: The corpus has no such label.
    """
    if kind not in found.labels:
        have = ", ".join(sorted(found.labels)) or "none"
        raise ValueError(f"evaluation.probes names the label '{kind}', which the corpus lacks; it has: {have}")
    return found.labels[kind]
