"""Words of captions against Stanford's tokeniser, and where they part from it on purpose."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mmvideo.evaluation.metrics.captions.caption_words import PUNCTUATION, caption_words

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "caption_words.json").read_text(encoding="utf-8"))


def test_every_golden_caption_has_the_reference_words():
    assert len(GOLDEN) > 350
    wrong = {caption: (caption_words(caption), words) for caption, words in GOLDEN if caption_words(caption) != words}
    assert not wrong


def test_golden_captions_hold_what_is_hard():
    words = {word for _, its in GOLDEN for word in its}
    assert {"n't", "-lrb-", "u.s.", "e.g.", "5-year-old", "$", "!!", "'90s", "10:30", "café", "日本語"} <= words


@pytest.mark.parametrize("caption", ["", " ", ".", "...", "!", "\t\n", "😀"])
def test_captions_without_words(caption):
    assert caption_words(caption) == []


def test_line_breaks_are_white_space():
    assert caption_words("a man\nrides\r\na horse\u2028fast") == ["a", "man", "rides", "a", "horse", "fast"]


def test_words_hold_neither_space_nor_punctuation():
    for caption, _ in GOLDEN:
        for word in caption_words(caption):
            assert word.split() == [word] and word not in PUNCTUATION


@pytest.mark.parametrize(
    ("piece", "word"), [("😀-", None), ("a.", "a."), ("a-", "a"), ("1", "1"), ("x_-", "x"), ("<a b", None), ("A&", "a")]
)
def test_long_rubbish_is_read_quickly(piece, word):
    """A model that repeats one token for ever must not hang its evaluation: no rule backtracks without bound."""
    started = time.process_time()
    words = caption_words(piece * 1000)
    assert time.process_time() - started < 2.0
    assert word is None or word in words[0]
