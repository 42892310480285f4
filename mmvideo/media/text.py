"""Tokenizer: text to tokens and back, with SentencePiece models and the special tokens of the objectives."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

PAD, UNK, BOS, EOS, MASK, CLS = "<pad>", "<unk>", "<s>", "</s>", "<mask>", "<cls>"
"""Special tokens; a model of `train` numbers them 0 to 5 in this order."""


ANSWER = "<answer>"
"""Separator of question and answer, `what moves? <answer> a red circle`: a token of its own in a model trained on texts
that contain it."""

LEAST = 7
"""Smallest vocabulary, the special tokens and one more; SentencePiece fails in unclear ways below it."""


def time_token(number: int) -> str:
    """Return the text of a time token: `<t=3>`."""
    return f"<t={number}>"


class Tokenizer:
    """A SentencePiece model. Encoding does not change it, so threads may share one.

    Args:
      model: bytes of a SentencePiece model file. A model from elsewhere works too; special tokens that it lacks are
        added at the end of the vocabulary.

    Raises:
      ValueError: the bytes are not a SentencePiece model.
    """

    def __init__(self, model: bytes):
        from sentencepiece import SentencePieceProcessor

        self.model = bytes(model)
        try:
            if not model:
                raise ValueError
            self._pieces: Any = SentencePieceProcessor(model_proto=self.model)
        except (RuntimeError, OSError, ValueError):
            raise ValueError(f"{len(self.model)} bytes that are no SentencePiece model") from None
        self._extra: list[str] = []
        self.unk_id: int = self._pieces.unk_id()
        self.pad_id: int = self._special(PAD, self._pieces.pad_id())
        self.bos_id: int = self._special(BOS, self._pieces.bos_id())
        self.eos_id: int = self._special(EOS, self._pieces.eos_id())
        self.mask_id: int = self._special(MASK, self._known(MASK))
        self.cls_id: int = self._special(CLS, self._known(CLS))
        answer = self._known(ANSWER)
        self.answer_id: int | None = answer if answer >= 0 else None
        """Number of the token `<answer>`; None if the model lacks it."""
        self.time_tokens: int = self._count_time_tokens()
        """Number of time tokens `<t=0>`, `<t=1>`, … in the model (see `media.time_tokens`)."""
        self.vocabulary: int = self._pieces.get_piece_size() + len(self._extra)
        """Number of tokens, the special ones included."""

    def _known(self, piece: str) -> int:
        number = self._pieces.piece_to_id(piece)
        # SentencePiece returns the unknown token's number for a missing piece, so compare the text.
        return number if self._pieces.id_to_piece(number) == piece else -1

    def _count_time_tokens(self) -> int:
        count = 0
        while self._known(time_token(count)) >= 0:
            count += 1
        return count

    def _special(self, piece: str, number: int) -> int:
        """Return the number of a special token, a new one after the vocabulary if the model lacks it."""
        if number >= 0:
            return number
        self._extra.append(piece)
        return self._pieces.get_piece_size() + len(self._extra) - 1

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, ending with `eos_id` and without a `bos_id`."""
        # The end mark is always the last token; callers that cut a caption rely on it.
        return [*self._pieces.encode(text), self.eos_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the tokens up to the first `eos_id`; special tokens are left out.

        Raises:
          ValueError: a number is outside the vocabulary.
        """
        kept: list[int] = []
        special = {self.pad_id, self.bos_id, self.mask_id, self.cls_id}
        for number in map(int, ids):
            if not 0 <= number < self.vocabulary:
                raise ValueError(f"piece {number} is not in a vocabulary of {self.vocabulary}")
            if number == self.eos_id:
                break
            if number not in special:
                kept.append(number)
        return self._pieces.decode(kept)

    def piece(self, number: int) -> str:
        """Return the text of a token, with `▁` for a space."""
        size = self._pieces.get_piece_size()
        return self._pieces.id_to_piece(number) if number < size else self._extra[number - size]

    def save(self, path: str | os.PathLike) -> None:
        """Write the model file."""
        Path(path).write_bytes(self.model)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Tokenizer:
        """Read a model file.

        Raises:
          FileNotFoundError: the file does not exist.
          ValueError: the file is not a SentencePiece model.
        """
        try:
            return cls(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    def __getstate__(self) -> bytes:
        return self.model

    def __setstate__(self, model: bytes) -> None:
        self.__init__(model)


def train(
    texts: Iterable[str], vocabulary: int, kind: Literal["unigram", "bpe"] = "unigram", time_tokens: int = 0
) -> Tokenizer:
    """Train a tokenizer; the same texts in the same order give the same bytes.

    If the texts contain `<answer>`, it is a token of its own, after the special ones.

    Args:
      texts: the corpus, read once.
      vocabulary: requested number of tokens, the six special ones included. A corpus too small for it gets as many as
        it can fill; one with too many characters gets at least those; a warning reports it.
      kind: SentencePiece's unigram language model (Kudo 2018) or byte-pair encoding (Sennrich et al. 2016).
      time_tokens: number of time tokens `<t=0>`, `<t=1>`, … for moments of a clip (see `media.time_tokens`), part of
        the vocabulary.

    Raises:
      ValueError: there is no text, the kind is unknown, or the number of time tokens is below 0.
    """
    if time_tokens < 0:
        raise ValueError(f"{time_tokens} time tokens: give 0 or more")
    if kind not in ("unigram", "bpe"):
        raise ValueError(f"unknown kind of tokenizer {kind!r}; take unigram or bpe")
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("no text to train a tokenizer on")
    marks = [ANSWER] if any(ANSWER in line for line in lines) else []
    marks += [time_token(number) for number in range(time_tokens)]
    size = max(vocabulary, LEAST + len(marks))
    for _ in range(3):
        try:
            tokenizer = Tokenizer(_train_once(lines, size, kind, marks))
            break
        except RuntimeError as error:
            size = _fitting_size(error, size)
    else:
        raise ValueError(f"no vocabulary near {vocabulary} fits these {len(lines)} lines of text")
    if tokenizer.vocabulary != vocabulary:
        warnings.warn(
            f"{len(lines)} lines of text make a vocabulary of {tokenizer.vocabulary} pieces, not {vocabulary}",
            stacklevel=2,
        )
    return tokenizer


def _train_once(lines: list[str], size: int, kind: str, marks: list[str]) -> bytes:
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type=kind,
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece=PAD, unk_piece=UNK, bos_piece=BOS, eos_piece=EOS,
        control_symbols=[MASK, CLS], user_defined_symbols=marks, character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, shuffle_input_sentence=False, max_sentence_length=1 << 20, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def _fitting_size(error: RuntimeError, size: int) -> int:
    """Return the vocabulary size that the trainer's error proposes.

    Raises:
      ValueError: the trainer failed for another reason.
    """
    said = str(error)
    most = re.search(r"value <= (\d+)", said)
    if most:
        return int(most.group(1))
    least = re.search(r"smaller than required_chars\. (\d+) vs (\d+)", said)
    if least:
        return max(int(n) for n in least.groups())
    raise ValueError(f"SentencePiece cannot train a vocabulary of {size}: {said}") from error
