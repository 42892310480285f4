"""BLEU, ROUGE-L, CIDEr and CIDEr-D against the reference scorers, and by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mmvideo.evaluation.metrics.captions.bleu import bleu
from mmvideo.evaluation.metrics.captions.caption_words import caption_words
from mmvideo.evaluation.metrics.captions.cider import cider
from mmvideo.evaluation.metrics.captions.rouge import common_subsequence, rouge_l

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "caption_scores.json").read_text(encoding="utf-8"))
EXACT = 1e-6


def _words(clips: dict) -> tuple[list[list[str]], list[list[list[str]]]]:
    predicted = [caption_words(caption) for caption in clips["predicted"]]
    return predicted, [[caption_words(one) for one in its] for its in clips["references"]]


@pytest.mark.parametrize("name", GOLDEN)
def test_bleu_equals_the_coco_scorer(name):
    corpus, clips = bleu(*_words(GOLDEN[name]))
    for n in range(4):
        whole, *each = GOLDEN[name]["scores"][f"bleu_{n + 1}"]
        np.testing.assert_allclose(corpus[n], whole, rtol=0, atol=EXACT)
        np.testing.assert_allclose(clips[:, n], each, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", GOLDEN)
def test_rouge_and_cider_equal_the_reference_scorers(name):
    predicted, references = _words(GOLDEN[name])
    consensus = cider(predicted, references)
    scores = {"rouge_l": rouge_l(predicted, references), "cider": consensus.cider, "cider_d": consensus.cider_d}
    for of, clips in scores.items():
        whole, *each = GOLDEN[name]["scores"][of]
        np.testing.assert_allclose(clips, each, rtol=0, atol=EXACT)
        np.testing.assert_allclose(clips.mean(), whole, rtol=0, atol=EXACT)


def test_the_golden_sets_tell_the_two_ciders_apart():
    scores = GOLDEN["many references"]["scores"]
    assert abs(scores["cider"][0] - scores["cider_d"][0]) > 0.05


def test_bleu_by_hand():
    # "the the the": one right of three, as "the" stands once in the reference; no pair is right.
    corpus, clips = bleu([["the", "the", "the"]], [[["the", "cat", "sat"]]])
    assert corpus[0] == pytest.approx(1 / 3, abs=1e-8)
    assert corpus[1] < 1e-7
    # Half as long as the closest reference: exp(1 - 2) of a perfect precision.
    corpus, _ = bleu([["the", "cat"]], [[["the", "cat", "sat", "down"], ["x"] * 9]])
    assert corpus[0] == pytest.approx(math.exp(-1), abs=1e-6)


def test_bleu_takes_the_shorter_of_two_lengths_as_close():
    corpus, _ = bleu([["a", "b", "c"]], [[["a", "b", "c", "d"], ["a", "b"]]])
    assert corpus[0] == pytest.approx(1.0, abs=1e-8)


def test_bleu_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one clip"):
        bleu([], [])


def test_common_subsequence_equals_the_table():
    draw = np.random.default_rng(0)
    for _ in range(300):
        a, b = (list(draw.choice(list("abcd"), draw.integers(0, 12))) for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
        assert common_subsequence(a, b) == table[-1, -1]


def test_cider_by_hand():
    """Two clips, one word each, rarity log 2 throughout: cosine 1 for n = 1, no longer n-grams, so 10 / 4."""
    consensus = cider([["cat"], ["zebra"]], [[["cat"]], [["dog"]]])
    np.testing.assert_allclose(consensus.cider, [2.5, 0.0])
    # Twice the word: the cosine doesn't see it, clipping halves it (min(2, 1) * 1 / (2 * 1)).
    consensus = cider([["cat", "cat"], ["zebra"]], [[["cat"]], [["dog"]]])
    np.testing.assert_allclose(consensus.cider[0], 2.5)
    np.testing.assert_allclose(consensus.cider_d[0], 2.5 / 2 * math.exp(-1 / 72))


def test_order_of_clips_changes_nothing():
    predicted, references = _words(GOLDEN["many references"])
    turned = cider(predicted[::-1], references[::-1])
    np.testing.assert_allclose(turned.cider_d[::-1], cider(predicted, references).cider_d, rtol=1e-12)
    np.testing.assert_allclose(bleu(predicted[::-1], references[::-1])[0], bleu(predicted, references)[0], rtol=1e-12)
