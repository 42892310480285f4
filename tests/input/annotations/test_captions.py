"""Captions: drawn without repetition, each as often as any other, and their most counted right."""

from __future__ import annotations

import numpy as np

from mmvideo.input.annotations.captions import Captions, encode
from mmvideo.input.config import Text
from mmvideo.media.text import train


def _captions(each: list[int], lengths: list[int] | None = None, begin: bool = False) -> Captions:
    first = np.concatenate([[0], np.cumsum(each)])
    lengths = lengths or [4] * int(first[-1])
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Captions(np.arange(start[-1], dtype=np.int32), start, first, begin)


def test_a_clip_gives_different_captions_of_its_own_and_no_more_than_it_has():
    captions = _captions([3, 0, 1, 7])
    clips = np.array([3, 0, 1, 2, 3, 0])
    for seed in range(50):
        chosen = captions.choose(clips, np.random.default_rng(seed).random((6, 4)))
        for clip, row in zip(clips, chosen, strict=True):
            own = range(captions.first[clip], captions.first[clip + 1])
            real = row[row >= 0].tolist()
            assert len(real) == len(set(real)) == min(4, len(own))
            assert set(real) <= set(own)
            assert (row[len(real) :] == -1).all()


def test_every_choice_in_every_order_is_as_likely():
    captions = _captions([4])
    chosen = captions.choose(np.zeros(24000, np.int64), np.random.default_rng(0).random((24000, 2)))
    pairs, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(pairs) == 12
    # 2000 expected each; five standard deviations are 214.
    assert abs(counts - 2000).max() < 214


def test_one_drawn_caption_is_the_one_its_number_names():
    captions = _captions([4, 2])
    uniform = np.array([[0.0], [0.249], [0.25], [0.999], [0.5]])
    assert captions.choose(np.array([0, 0, 0, 0, 1]), uniform).ravel().tolist() == [0, 0, 1, 3, 5]
    assert captions.choose(np.array([0, 1]), None).tolist() == [[0], [4]]


def test_the_most_of_a_few_captions_is_the_sum_of_the_largest():
    captions = _captions([3, 0, 1, 2])
    values = np.array([5, 9, 7, 4, 2, 8])
    assert captions.most(values, 1).tolist() == [9, 0, 4, 8]
    assert captions.most(values, 2).tolist() == [16, 0, 4, 10]
    assert captions.most(values, 9).tolist() == [21, 0, 4, 10]


def test_marks_are_no_words():
    assert _captions([2], [5, 3]).words.tolist() == [4, 2]
    assert _captions([2], [5, 3], begin=True).words.tolist() == [3, 1]


def test_a_filled_caption_is_as_long_as_all_and_ends_with_end_marks():
    """SigLIP's code fills texts up to their length with the end mark; one that is cut has one end mark as well."""
    said = [["a dog"], ["a dog and a cat sat on a mat and a rat sat on a hat"], []]
    tokenizer = train([caption for captions in said for caption in captions], 30)
    for begin in (False, True):
        plain, filled = (encode(said, tokenizer, Text(length=9, begin=begin, fill=fill)) for fill in (False, True))
        short, cut = filled.get(0), filled.get(1)
        own = plain.get(0)
        assert len(short) == len(cut) == 9 and 2 < len(own) < 9
        np.testing.assert_array_equal(short[: len(own)], own)
        assert (short[len(own) - 1 :] == tokenizer.eos_id).all()
        np.testing.assert_array_equal(cut, plain.get(1))
        assert filled.first.tolist() == [0, 1, 2, 2]
