"""Texts of clips in retrieval: the first caption, every caption, or all captions as one paragraph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from mmvideo.datasets.in_memory import InMemoryClips
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.input.config import Source
from mmvideo.input.pipeline import Batches

Which = Literal["first", "all", "paragraph"]

MEANING: dict[str, str] = {
    "first": "first: the first caption of each clip, as MSR-VTT 1k-A has one a clip",
    "all": "all: every caption is a query of its own; as entries, the best ranked caption of a clip counts (MSVD)",
    "paragraph": "paragraph: the captions of a clip, one after another, as one text (DiDeMo, ActivityNet)",
}


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of the clips of a corpus.

    Attributes:
      words: The texts.
      clip: Index of the clip of each text.
    """

    words: list[str]
    clip: Int[np.ndarray, "t"]

    def cut(self, batches: Batches) -> int:
        """Return the number of texts that are longer than `input.text.length` tokens, so that batches cut them."""
        text = batches.config.text
        # One token of the length is the end mark, and one the begin mark if there is one; `encode` appends an end mark
        # too.
        available = text.length - 1 - text.begin
        return sum(len(batches.tokenizer.encode(words)) - 1 > available for words in self.words)


def texts_of(batches: Batches, which: Which) -> Texts:
    """Return the texts of the clips of batches; a clip without captions has none."""
    chosen = {
        "first": lambda captions: captions[:1],
        "all": list,
        "paragraph": lambda captions: [" ".join(captions)] if captions else [],
    }[which]
    texts = [chosen(captions) for captions in batches.corpus.all_captions()]
    # Clips with 2, 0 and 1 texts: owner is [0, 0, 2].
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    return Texts([words for own in texts for words in own], owner)


def same_pass(batches: Batches, corpus: Any, modalities: Sequence[str] | None = None) -> Batches:
    """Return one pass over other clips, read with the settings, tokenizer and spec of `batches`.

    Args:
      batches: One pass over the clips of an evaluation.
      corpus: The other clips, as `InMemoryClips` or `RePairedClips`.
      modalities: Modalities of a clip that the model sees. None is all that it has.
    """
    return Batches(
        # The named source is only a label: `corpora` holds the clips. Embeddings of a teacher belong to other clips.
        dataclasses.replace(batches.config, sources=(Source("clips of an evaluation"),), embeddings=None),
        masked=False,
        train=False,
        modalities=modalities,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        assets=batches.assets(),
        corpora=[corpus],
    )


def text_batches(batches: Batches, words: Sequence[str]) -> Batches:
    """Return one pass over texts, each as a clip that has nothing else.

    Raises:
      ValueError: The run has no text.
    """
    if batches.tokenizer is None:
        raise ValueError("the run reads no text: set input.text and train with captions, or leave text queries out")
    return same_pass(batches, InMemoryClips([], words))


def embed_texts(subject: EvaluatedModel, texts: Batches) -> Float[np.ndarray, "t d"]:
    """Return the unit embeddings of the texts of `text_batches`, in their order.

    Raises:
      ValueError: No contrastive objective of the learner embeds text.
    """
    found = subject.embeddings(texts)
    if "text" not in found.vectors:
        raise ValueError("the run embeds no text: give its contrastive objective a pair with text, such as video-text")
    return found.vectors["text"]
