"""The pieces of every caption, ready before the first row is planned, because a row's length depends on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Text

if TYPE_CHECKING:
    from mmvideo.media.text import Tokenizer

VOCABULARY = 1000
"""Pieces of a tokenizer that is made from the captions of sources that bring none."""


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of `n` clips as pieces, one behind the other.

    Attributes:
      pieces: the pieces of all captions.
      start: where each caption starts in `pieces`, and the end of the last one.
      first: the number of each clip's first caption, and the number of captions; a clip has `first[i + 1] - first[i]`.
      begin: whether a begin mark stands before each, as an end mark stands behind each.
    """

    pieces: Int[np.ndarray, " p"]
    start: Int[np.ndarray, " c1"]
    first: Int[np.ndarray, " n1"]
    begin: bool = False

    @property
    def marks(self) -> int:
        """Pieces of a caption that are no words."""
        return 1 + self.begin

    def choose(self, clips: Int[np.ndarray, " m"], uniform: Float[np.ndarray, " m"] | None) -> Int[np.ndarray, " m"]:
        """A caption of each named clip: by numbers drawn from [0, 1), or the first; -1 where there is none."""
        count = self.first[clips + 1] - self.first[clips]
        offset = 0 if uniform is None else np.minimum((uniform * count).astype(np.int64), count - 1)
        return np.where(count > 0, self.first[clips] + offset, -1)

    def lengths(self, captions: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Pieces of each caption; 0 for -1."""
        lengths = np.append(np.diff(self.start), 0)
        return lengths[captions]

    def longest(self) -> Int[np.ndarray, " n"]:
        """Pieces of the longest caption of every clip."""
        lengths = np.diff(self.start)
        result = np.zeros(len(self.first) - 1, np.int64)
        owner = np.repeat(np.arange(len(result)), np.diff(self.first))
        np.maximum.at(result, owner, lengths)
        return result

    def get(self, caption: int) -> Int[np.ndarray, " t"]:
        """The pieces of one caption; none for -1."""
        return self.pieces[self.start[caption] : self.start[caption + 1]] if caption >= 0 else self.pieces[:0]


def encode(captions: Iterable[Sequence[str]], tokenizer: Tokenizer, text: Text) -> Captions:
    """The captions of every clip as pieces; one that is longer than `text.length` is cut and keeps its marks."""
    pieces: list[np.ndarray] = []
    first = [0]
    begin = [tokenizer.bos_id] if text.begin else []
    for texts in captions:
        for caption in texts:
            words = tokenizer.encode(caption)[:-1][: text.length - 1 - len(begin)]
            pieces.append(np.asarray([*begin, *words, tokenizer.eos_id], np.int32))
        first.append(len(pieces))
    start = np.concatenate([[0], np.cumsum([len(ids) for ids in pieces], dtype=np.int64)]).astype(np.int64)
    return Captions(np.concatenate([np.zeros(0, np.int32), *pieces]), start, np.asarray(first, np.int64), text.begin)


def no_captions(clips: int) -> Captions:
    """Captions of clips of a run without text."""
    return Captions(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(clips + 1, np.int64))


def choose_tokenizer(text: Text, folders: Sequence[Path | None], captions: Iterable[str]) -> Tokenizer:
    """The tokenizer of a run: the one named, else the first source's own, else one made from the captions.

    Raises:
      FileNotFoundError: the file that `text.tokenizer` names is missing.
      ValueError: there is none and there are no captions to make one from.
    """
    from mmvideo.media import text as media_text

    if text.tokenizer is not None:
        if not Path(text.tokenizer).is_file():
            raise FileNotFoundError(f"text.tokenizer: no file {text.tokenizer}")
        return media_text.Tokenizer.load(text.tokenizer)
    if folders and folders[0] is not None:
        return media_text.Tokenizer.load(folders[0])
    texts = [caption for caption in captions if caption.strip()]
    if not texts:
        raise ValueError(
            "the sources have neither a tokenizer nor captions; set input.text to None, or build the corpus "
            "with `mmvideo data build --tokenizer-vocabulary N`"
        )
    return media_text.train(texts, text.vocabulary or VOCABULARY)
