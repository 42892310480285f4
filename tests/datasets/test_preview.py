"""A sample of a corpus is decoded for real, and what can't be is named."""

from __future__ import annotations

import dataclasses

from mmvideo.datasets.corpus import open_corpus
from mmvideo.datasets.preview import read_sample


class Rotten:
    """A corpus of which some records are cut off, gone, or no media at all."""

    def __init__(self, corpus):
        self._corpus, self.table = corpus, corpus.table

    def __len__(self):
        return len(self._corpus)

    def __getitem__(self, row):
        record = self._corpus[row]
        if row == 0:
            raise RuntimeError("the record's checksum is wrong")
        if row == len(self) - 1:
            return dataclasses.replace(record, media=b"no media")
        return record


def test_a_sound_corpus_is_read(shapes):
    corpus = open_corpus(shapes, "test")
    found = read_sample(corpus, clips=4, longest=1.0)
    assert found.clips == 4 and found.unreadable == [] and found.truncated == []
    assert found.stretch == 4.0 and found.seconds > 0
    assert read_sample(corpus, clips=100).clips == len(corpus) == 16


def test_what_cannot_be_read_is_named_with_its_reason(shapes):
    corpus = open_corpus(shapes, "test")
    found = read_sample(Rotten(corpus), clips=3)
    (first, reason), (last, other) = found.unreadable
    assert (first, last) == (corpus.table.id[0], corpus.table.id[-1])
    assert reason == "the record's checksum is wrong" and other and found.clips == 3


def test_clips_of_words_alone_are_passed_over(shapes):
    corpus = open_corpus(shapes, "test")
    silent = corpus.table.has_video.copy()
    silent[:15] = False
    corpus.table = dataclasses.replace(corpus.table, has_video=silent, has_audio=silent)
    assert read_sample(corpus).clips == 1
