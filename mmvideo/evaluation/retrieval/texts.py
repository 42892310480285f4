"""The texts that stand for clips in retrieval: the first caption, every caption, or all of them as one paragraph."""

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
    "all": "all: every caption is a query of its own; of a clip's captions as entries the best ranked counts (MSVD)",
    "paragraph": "paragraph: the captions of a clip, one behind the other, as one text (DiDeMo, ActivityNet)",
}


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of the clips of a corpus.

    Attributes:
      words: the texts.
      clip: number of the clip that each tells of.
    """

    words: list[str]
    clip: Int[np.ndarray, "t"]

    def cut(self, batches: Batches) -> int:
        """How many are longer than the text that batches make of them, `input.text.length` pieces, and so are cut."""
        text = batches.config.text
        room = text.length - 1 - text.begin
        return sum(len(batches.tokenizer.encode(words)) - 1 > room for words in self.words)


def texts_of(batches: Batches, which: Which) -> Texts:
    """The texts of the clips of batches; a clip without captions has none."""
    chosen = {
        "first": lambda captions: captions[:1],
        "all": list,
        "paragraph": lambda captions: [" ".join(captions)] if captions else [],
    }[which]
    texts = [chosen(captions) for captions in batches.corpus.all_captions()]
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    return Texts([words for own in texts for words in own], owner)


def same_pass(batches: Batches, corpus: Any, modalities: Sequence[str] | None = None) -> Batches:
    """One pass over other clips, which are read as those of `batches` are: its settings, tokenizer and spec.

    Args:
      batches: one pass over the clips of an evaluation.
      corpus: the other clips, as `InMemoryClips` or `RePairedClips`.
      modalities: all that is shown of a clip; None shows what it has.
    """
    return Batches(
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
    """One pass over texts, each a clip of its own that has nothing else.

    Raises:
      ValueError: a run without text.
    """
    if batches.tokenizer is None:
        raise ValueError("the run reads no text: set input.text and train with captions, or ask for nothing by words")
    return same_pass(batches, InMemoryClips([], words))


def embed_texts(subject: EvaluatedModel, texts: Batches) -> Float[np.ndarray, "t d"]:
    """Unit embeddings of the texts of `text_batches`, in their order.

    Raises:
      ValueError: no contrastive objective of the learner embeds text.
    """
    found = subject.embeddings(texts)
    if "text" not in found.vectors:
        raise ValueError("the run embeds no text: give its contrastive objective a pair with text, such as video-text")
    return found.vectors["text"]
