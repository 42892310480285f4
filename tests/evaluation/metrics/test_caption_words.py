"""Words of captions against Stanford's tokeniser, and where they part from it on purpose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmvideo.evaluation.metrics.caption_words import PUNCTUATION, caption_words

GOLDEN = json.loads((Path(__file__).parent / "golden" / "caption_words.json").read_text(encoding="utf-8"))


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


def test_letters_beyond_the_basic_plane_and_marks_stay_bounded():
    # One slow path must not become quadratic: a caption of 20,000 odd signs is read in well under a second.
    assert caption_words("😀-" * 10_000) == []
    assert caption_words("a." * 5_000) == ["a." * 5_000]
