"""Clips with the captions of others, with the interface of a corpus, as inputs of a model that reads both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from mmvideo.datasets.clip_table import ClipTable

if TYPE_CHECKING:
    from mmvideo.datasets.corpus import Corpus, Record


class RePairedClips:
    """Pairs of the media of one clip and a text; labels are dropped.

    It has the parts of `Corpus` that batches need: `table`, `classes`, `tokenizer_path`, a length, and records.

    Args:
      corpora: sources of the media.
      clips: the clip of each pair, numbered through all corpora, concatenated.
      texts: the text of each pair.

    Raises:
      ValueError: the numbers of texts and clips differ.
    """

    def __init__(self, corpora: Sequence[Corpus], clips: Int[np.ndarray, " p"], texts: Sequence[str]):
        if len(clips) != len(texts):
            raise ValueError(f"{len(clips)} clips cannot be paired with {len(texts)} texts; give one text for each")
        self.corpora, self.clips = tuple(corpora), np.asarray(clips, np.int64)
        self.first = np.concatenate([[0], np.cumsum([len(corpus) for corpus in corpora])]).astype(np.int64)
        self.classes: dict[str, list[str]] = {}
        self.tokenizer_path = None
        columns = ("id", "seconds", "has_video", "has_audio", "width", "height", "fps")
        self.table = ClipTable(
            **{name: self._column(name) for name in columns},
            captions=[[text] for text in texts],
            labels={},
            tags=[[] for _ in texts],
            attributes=["{}"] * len(texts),
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Record:
        """Return the media of the clip of pair `index`, with the pair's text as its only caption."""
        # first [0, 3, 5]: clip 4 is clip 1 of corpus 1.
        source = int(np.searchsorted(self.first, self.clips[index], side="right")) - 1
        record = self.corpora[source][int(self.clips[index] - self.first[source])]
        return dataclasses.replace(record, captions=self.table.captions[index], labels={}, tags=[])

    def _column(self, name: str) -> Any:
        return np.concatenate([getattr(corpus.table, name) for corpus in self.corpora])[self.clips]
