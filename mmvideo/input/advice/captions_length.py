"""Choice of the caption length, from estimated token counts, before there is a tokenizer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from mmvideo.input.advice.choice import Choice, Situation, spread
from mmvideo.input.annotations.captions import Captions, no_captions
from mmvideo.input.config import Text
from mmvideo.input.mixture import CorpusMixture

TOKENS = 1.6
"""Approximate number of tokens in a word, with a small vocabulary."""

LONGEST = 64
"""Largest number of tokens in a caption."""


def choose_text(now: Situation) -> Choice | None:
    """Choose `text`: None if no clip has a caption."""
    if now.input.text is None or any(now.corpus.all_captions()):
        return None
    return Choice(None, "no clip has a caption")


def choose_length(now: Situation) -> Choice | None:
    """Choose `text.length`: enough for 19 of 20 captions."""
    text = now.input.text
    if text is None:
        return None
    text_tokens = _tokens(now.corpus, text.begin)
    length = int(np.ceil(np.quantile(text_tokens, 0.95) / 8) * 8)
    return Choice(min(max(length, 16), LONGEST), f"captions have about {spread(text_tokens, 'tokens', 0)}")


def counted_captions(corpus: CorpusMixture, text: Text | None) -> Captions:
    """Return captions with the estimated number of tokens, all of them 0, cut at `text.length`."""
    if text is None:
        return no_captions(len(corpus))
    counts = np.minimum(_tokens(corpus, text.begin), text.length)
    first = np.concatenate([[0], np.cumsum([len(texts) for texts in corpus.all_captions()])])
    start = np.concatenate([[0], np.cumsum(counts)])
    return Captions(np.zeros(int(start[-1]), np.int32), start.astype(np.int64), first.astype(np.int64), text.begin)


def _tokens(corpus: CorpusMixture, begin: bool) -> Int[np.ndarray, " c"]:
    """Return the estimated tokens of every caption, marks included."""
    words = [len(text.split()) for texts in corpus.all_captions() for text in texts]
    return np.ceil(np.array(words, np.float64) * TOKENS).astype(np.int64) + 1 + begin
