"""Loose files and texts with the interface of a corpus, as inputs of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmvideo.datasets.clip_table import ClipTable
from mmvideo.datasets.corpus import Record


class InMemoryClips:
    """Files first, then texts, each a clip of its own: a file has no caption, a text has no media.

    It has the parts of `Corpus` that batches need: `table`, `classes`, `tokenizer_path`, a length, and records.

    Args:
      files: media files.
      texts: captions or queries.

    Raises:
      MediaError: a file cannot be opened; the message has its name.
    """

    def __init__(self, files: Sequence[str | Path], texts: Sequence[str] = ()):
        from mmvideo.media.probe import probe

        self.files, self.texts = [Path(file) for file in files], list(texts)
        self.classes: dict[str, list[str]] = {}
        self.tokenizer_path = None
        # All files are probed here, so that a missing one stops before any model is loaded.
        known, none = [probe(file) for file in self.files], len(self.texts)
        self.table = ClipTable(
            id=np.array([*map(str, self.files), *(f"text {n}" for n in range(none))], object),
            seconds=np.array([info.seconds for info in known] + [0.0] * none),
            has_video=np.array([info.has_video for info in known] + [False] * none, bool),
            has_audio=np.array([info.has_audio for info in known] + [False] * none, bool),
            width=np.array([info.width or 0 for info in known] + [0] * none, np.int32),
            height=np.array([info.height or 0 for info in known] + [0] * none, np.int32),
            fps=np.array([float(info.fps or 0) for info in known] + [0.0] * none),
            captions=[[] for _ in known] + [[text] for text in self.texts],
            labels={},
            tags=[[] for _ in range(len(known) + none)],
            attributes=["{}"] * (len(known) + none),
        )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Record:
        """Return the clip of row `index`; a text has no media bytes."""
        captions = self.table.captions[index]
        if index >= len(self.files):
            return Record(str(self.table.id[index]), b"", "", captions, {}, [])
        file = self.files[index]
        return Record(str(file), file.read_bytes(), file.suffix, captions, {}, [])
