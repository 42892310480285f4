"""All caption metrics of a set of clips, by the protocol of the COCO caption evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mmvideo.evaluation.metrics.captions.bleu import bleu
from mmvideo.evaluation.metrics.captions.caption_diversity import caption_diversity
from mmvideo.evaluation.metrics.captions.caption_words import caption_words
from mmvideo.evaluation.metrics.captions.cider import cider
from mmvideo.evaluation.metrics.captions.java_scorers import (
    METEOR_VARIABLE,
    SPICE_VARIABLE,
    Meteor,
    jar,
    spice,
)
from mmvideo.evaluation.metrics.captions.rouge import rouge_l

PROTOCOL: dict[str, str] = {
    "exact_match": "share of captions with exactly the words of a reference, in order",
    "words": "Penn Treebank tokens in lower case without punctuation, as the COCO caption evaluation counts them",
    "bleu": "corpus BLEU-1 … 4, clipped counts, closest reference length",
    "rouge_l": "best precision and best recall over the references, beta 1.2, mean over clips",
    "cider": "CIDEr without clipping and length penalty, words not stemmed, 0 … 10",
    "cider_d": "CIDEr-D, sigma 6, 0 … 10: called CIDEr by the COCO caption evaluation and most papers (times 100)",
    "document_frequency": "from the references of the clips scored; a clip is a document",
    "meteor": "meteor-1.5.jar, English, -norm; only if the jar is named",
    "spice": "spice-1.0.jar; only if the jar is named",
    "missing": "clips without a prediction or without a reference are left out and counted in left_out",
}
"""Meaning of the metrics of this file, as written beside them."""

SHORT = 8
"""Mean length of references, in words, below which BLEU-4 means little: four words have only one 4-gram."""

Metrics = dict[str, float | int]


def caption_metrics(
    predicted: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    training: Collection[str] | None = None,
    *,
    meteor_jar: str | Path | None = None,
    spice_jar: str | Path | None = None,
) -> tuple[Metrics, dict[str, dict[str, float]]]:
    """Score captions against their references.

    Args:
      predicted: Caption of each clip, by its id; an empty one is scored like any other.
      references: Captions of each clip; a clip without any is left out.
      training: Captions seen in training, for the share of new predictions.
      meteor_jar: Reference program of METEOR, by default `MMVIDEO_METEOR_JAR`; without it the metric is left out.
      spice_jar: Reference program of SPICE, by default `MMVIDEO_SPICE_JAR`; without it the metric is left out.

    Returns:
      Metrics: `exact_match`, `bleu_1` … `bleu_4`, `rouge_l`, `cider`, `cider_d`, `meteor` and `spice` (with their
        jars), all
      of `caption_diversity`, `reference_length_mean`, `clips`, `references` and `left_out`. Then by clip: the same
        scores,
      and `length` in words.

    Raises:
      ValueError: The references of a clip are a string, no clip has both, or a named jar does not exist.
    """
    names = [name for name in predicted if references.get(name)]
    if not names:
        raise ValueError("no clip has both a predicted caption and a reference: check that their ids are the same")
    if strings := [name for name in names if isinstance(references[name], str)]:
        raise ValueError(f"references of {strings[0]!r} are a string: give a list of captions")
    captions = [caption_words(predicted[name]) for name in names]
    right = [[caption_words(one) for one in references[name]] for name in names]
    corpus, clips = _scores(captions, right, jar(meteor_jar, METEOR_VARIABLE), jar(spice_jar, SPICE_VARIABLE))
    # Words are compared after tokenisation, so case and punctuation do not matter.
    clips["exact_match"] = np.array([float(own in its) for own, its in zip(captions, right, strict=True)])
    metrics: Metrics = {
        "exact_match": float(clips["exact_match"].mean()),
        **corpus,
        **caption_diversity(captions, training),
    }
    metrics["reference_length_mean"] = float(np.mean([len(one) for its in right for one in its]))
    metrics["clips"] = len(names)
    metrics["references"] = sum(map(len, right))
    metrics["left_out"] = len(predicted.keys() | references.keys()) - len(names)
    clips["length"] = np.array([len(words) for words in captions])
    return metrics, {name: {of: float(clips[of][row]) for of in clips} for row, name in enumerate(names)}


def _scores(
    captions: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    meteor_jar: Path | None,
    spice_jar: Path | None,
) -> tuple[dict[str, float], dict[str, Float[np.ndarray, "n"]]]:
    """Return the values of the corpus and of each clip, by metric."""
    whole, single = bleu(captions, references)
    corpus = {f"bleu_{n + 1}": float(value) for n, value in enumerate(whole)}
    clips = {f"bleu_{n + 1}": single[:, n] for n in range(len(whole))}
    consensus = cider(captions, references)
    means = {"rouge_l": rouge_l(captions, references), "cider": consensus.cider, "cider_d": consensus.cider_d}
    if spice_jar:
        means["spice"] = spice(captions, references, spice_jar)
    # SPICE is NaN for a clip whose captions have no scene graph; nanmean leaves it out.
    corpus |= {name: float(np.nanmean(values)) for name, values in means.items()}
    clips |= means
    if meteor_jar:
        with Meteor(meteor_jar) as meteor:
            # METEOR of the corpus comes from summed counts, not from the mean over clips.
            corpus["meteor"], clips["meteor"] = meteor.score(captions, references)
    return corpus, clips
