"""The pieces of every caption, ready before the first row is planned, because a row's length depends on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Text
from mmvideo.stream import PADDING, TextSpec

if TYPE_CHECKING:
    from mmvideo.media.text import Tokenizer

VOCABULARY = 1000
"""Pieces of a tokenizer that is made from the captions of sources that bring none."""


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of `n` clips as pieces, one behind the other.

    Attributes:
      text_tokens: the pieces of all captions.
      start: where each caption starts in `text_tokens`, and the end of the last one.
      first: the number of each clip's first caption, and the number of captions; a clip has `first[i + 1] - first[i]`.
      begin: whether a begin mark stands before each, as an end mark stands behind each.
    """

    text_tokens: Int[np.ndarray, " p"]
    start: Int[np.ndarray, " c1"]
    first: Int[np.ndarray, " n1"]
    begin: bool = False

    @property
    def marks(self) -> int:
        """Pieces of a caption that are no words."""
        return 1 + self.begin

    @property
    def words(self) -> Int[np.ndarray, " c"]:
        """Pieces of every caption beside its marks."""
        return np.diff(self.start) - self.marks

    def choose(self, clips: Int[np.ndarray, " m"], uniform: Float[np.ndarray, "m k"] | None) -> Int[np.ndarray, "m k"]:
        """Up to `k` different captions of each named clip, by numbers drawn from [0, 1), or the first one.

        -1 stands behind them where a clip has no more.
        """
        count = self.first[clips + 1] - self.first[clips]
        if uniform is None:
            return np.where(count > 0, self.first[clips], -1)[:, None]
        chosen = np.full(uniform.shape, -1, np.int64)
        taken = np.zeros((len(clips), 0), np.int64)
        for column in range(uniform.shape[1]):
            left = count - column
            offset = np.minimum((uniform[:, column] * left).astype(np.int64), left - 1)
            # From a number among those that are left to one among all of the clip.
            for earlier in taken.T:
                offset += offset >= earlier
            chosen[:, column] = np.where(left > 0, self.first[clips] + offset, -1)
            taken = np.sort(np.concatenate([taken, offset[:, None]], axis=1), axis=1)
        return chosen

    def most(self, values: Int[np.ndarray, " c"], count: int) -> Int[np.ndarray, " n"]:
        """The most that up to `count` different captions of every clip have of a value, given for each caption."""
        owner = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        order = np.lexsort((-values, owner))
        among = np.arange(len(order)) - self.first[owner] < count
        result = np.zeros(len(self.first) - 1, np.int64)
        np.add.at(result, owner[among], values[order][among])
        return result

    def get(self, caption: int) -> Int[np.ndarray, " t"]:
        """The pieces of one caption; none for -1."""
        return self.text_tokens[self.start[caption] : self.start[caption + 1]] if caption >= 0 else self.text_tokens[:0]


def encode(captions: Iterable[Sequence[str]], tokenizer: Tokenizer, text: Text) -> Captions:
    """The captions of every clip as pieces.

    One that is longer than `text.length` is cut and keeps its marks. With `text.fill` a shorter one ends with as many
    end marks as it takes to be as long: of length 6, `a dog` is then `a`, `dog` and four end marks.
    """
    text_tokens: list[np.ndarray] = []
    first = [0]
    begin = [tokenizer.bos_id] if text.begin else []
    for texts in captions:
        for caption in texts:
            words = tokenizer.encode(caption)[:-1][: text.length - 1 - len(begin)]
            ends = text.length - len(begin) - len(words) if text.fill else 1
            text_tokens.append(np.asarray([*begin, *words, *[tokenizer.eos_id] * ends], np.int32))
        first.append(len(text_tokens))
    start = np.concatenate([[0], np.cumsum([len(ids) for ids in text_tokens], dtype=np.int64)]).astype(np.int64)
    return Captions(
        np.concatenate([np.zeros(0, np.int32), *text_tokens]), start, np.asarray(first, np.int64), text.begin
    )


def text_spec(text: Text, tokenizer: Tokenizer) -> TextSpec:
    """What a model must know of text that a tokenizer makes."""
    return TextSpec(
        vocabulary=tokenizer.vocabulary,
        length=text.length,
        mask_id=tokenizer.mask_id,
        begin_id=tokenizer.bos_id if text.begin else PADDING,
        end_id=tokenizer.eos_id,
        captions=text.captions,
        pad_id=tokenizer.pad_id,
        answer_id=PADDING if tokenizer.answer_id is None else tokenizer.answer_id,
    )


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
