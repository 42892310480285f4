"""Captions of all clips as text tokens, encoded before the first row is planned because row lengths depend on them."""

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
"""Vocabulary size of a tokenizer that is trained on the captions of sources without one."""


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of `n` clips as text tokens, concatenated.

    Attributes:
      text_tokens: the tokens of all captions.
      start: first index of each caption in `text_tokens`, then the end of the last one.
      first: number of each clip's first caption, then the number of captions; clip `i` has `first[i + 1] - first[i]`.
      begin: whether each caption starts with a begin mark; each ends with an end mark in any case.
    """

    text_tokens: Int[np.ndarray, " p"]
    start: Int[np.ndarray, " c1"]
    first: Int[np.ndarray, " n1"]
    begin: bool = False

    @property
    def marks(self) -> int:
        """Number of tokens of a caption that are marks, not words."""
        return 1 + self.begin

    @property
    def words(self) -> Int[np.ndarray, " c"]:
        """Number of tokens of every caption without its marks."""
        return np.diff(self.start) - self.marks

    def choose(self, clips: Int[np.ndarray, " m"], uniform: Float[np.ndarray, "m k"] | None) -> Int[np.ndarray, "m k"]:
        """Return up to `k` different captions of each clip, chosen by values drawn from [0, 1), or the first one
        without them.

        -1 pads the choice of a clip with fewer captions.
        """
        count = self.first[clips + 1] - self.first[clips]
        if uniform is None:
            return np.where(count > 0, self.first[clips], -1)[:, None]
        chosen = np.full(uniform.shape, -1, np.int64)
        taken = np.zeros((len(clips), 0), np.int64)
        # Without replacement: of 4 captions with caption 1 chosen, a draw of 0.5 is index 1 of the 3 left, caption 2.
        for column in range(uniform.shape[1]):
            left = count - column
            offset = np.minimum((uniform[:, column] * left).astype(np.int64), left - 1)
            # Turn the index among the captions left into an index among all: step over each earlier one, in rising
            # order.
            for earlier in taken.T:
                offset += offset >= earlier
            chosen[:, column] = np.where(left > 0, self.first[clips] + offset, -1)
            taken = np.sort(np.concatenate([taken, offset[:, None]], axis=1), axis=1)
        return chosen

    def most(self, values: Int[np.ndarray, " c"], count: int) -> Int[np.ndarray, " n"]:
        """Return the largest value of any of `count` captions of every clip, given a value for each caption."""
        # first [0, 2, 3]: the owners are [0, 0, 1].
        owner = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        order = np.lexsort((-values, owner))
        # Sorted by owner and falling value, the first `count` of each clip are its largest.
        among = np.arange(len(order)) - self.first[owner] < count
        result = np.zeros(len(self.first) - 1, np.int64)
        np.add.at(result, owner[among], values[order][among])
        return result

    def get(self, caption: int) -> Int[np.ndarray, " t"]:
        """Return the tokens of one caption; none for -1."""
        return self.text_tokens[self.start[caption] : self.start[caption + 1]] if caption >= 0 else self.text_tokens[:0]


def encode(captions: Iterable[Sequence[str]], tokenizer: Tokenizer, text: Text) -> Captions:
    """Return the captions of every clip as text tokens.

    A caption longer than `text.length` is cut and keeps its marks. With `text.fill` a shorter one is filled with end
    marks up to that length: with length 6, `a dog` becomes `a`, `dog` and four end marks.
    """
    text_tokens: list[np.ndarray] = []
    first = [0]
    begin = [tokenizer.bos_id] if text.begin else []
    for texts in captions:
        for caption in texts:
            # The tokenizer appends an end mark: drop it, cut the words, and add the end marks again below.
            words = tokenizer.encode(caption)[:-1][: text.length - 1 - len(begin)]
            ends = text.length - len(begin) - len(words) if text.fill else 1
            text_tokens.append(np.asarray([*begin, *words, *[tokenizer.eos_id] * ends], np.int32))
        first.append(len(text_tokens))
    start = np.concatenate([[0], np.cumsum([len(ids) for ids in text_tokens], dtype=np.int64)]).astype(np.int64)
    return Captions(
        np.concatenate([np.zeros(0, np.int32), *text_tokens]), start, np.asarray(first, np.int64), text.begin
    )


def text_spec(text: Text, tokenizer: Tokenizer) -> TextSpec:
    """Return the facts that a model needs about the text of a tokenizer."""
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
    """Return empty captions for the clips of a run without text."""
    return Captions(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(clips + 1, np.int64))


def choose_tokenizer(text: Text, folders: Sequence[Path | None], captions: Iterable[str]) -> Tokenizer:
    """Return the tokenizer of a run: the named one, else that of the first source, else one trained on the captions.

    Raises:
      FileNotFoundError: the file that `text.tokenizer` names is missing.
      ValueError: there is neither a tokenizer nor a caption to train one on.
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
