"""Clips with the words of others, read in the way of a corpus: what a model that looks at both is asked about."""

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
    """Pair `i` is a clip that has the media of one clip and one text of its own; labels are left behind.

    Has of `Corpus` what batches need: `table`, `classes`, `tokenizer_path`, a length, and records.

    Args:
      corpora: where the media are.
      clips: the clip of each pair, counted through all corpora one behind the other.
      texts: the text of each pair.

    Raises:
      ValueError: not as many texts as clips.
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
        """The media of the clip of pair `index`, with the pair's text as its only caption."""
        source = int(np.searchsorted(self.first, self.clips[index], side="right")) - 1
        record = self.corpora[source][int(self.clips[index] - self.first[source])]
        return dataclasses.replace(record, captions=self.table.captions[index], labels={}, tags=[])

    def _column(self, name: str) -> Any:
        return np.concatenate([getattr(corpus.table, name) for corpus in self.corpora])[self.clips]
