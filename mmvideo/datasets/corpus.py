"""A split of a corpus, read at random places without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import Any

from mmvideo.datasets.annotations import Annotations
from mmvideo.datasets.build import COMPLETE, RECORD, TOKENIZER, WORK
from mmvideo.datasets.records import UNKNOWN
from mmvideo.datasets.table import ClipTable, read_table

SAMPLES = "samples:"
"""Before the name of an embedded set."""


class CorpusError(ValueError):
    """A folder is no corpus, or has no such split; the message says what it is and which splits there are."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One clip.

    Attributes:
      id: its name in the corpus.
      media: the encoded file.
      suffix: ending of the file's name, such as `.mp4`.
      captions: none, one or several texts.
      labels: class number for each kind of which a clip has one class, -1 where it is unknown.
      tags: words for what is in the clip.
      several: class numbers for each kind of which it may have several, None where they are unknown.
      numbers: the number for each kind that is one, NaN where it is unknown.
    """

    id: str
    media: bytes
    suffix: str
    captions: list[str]
    labels: dict[str, int]
    tags: list[str]
    several: dict[str, list[int] | None] = dataclasses.field(default_factory=dict)
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)


class Corpus:
    """The clips of one split.

    Threads may share it. It can be pickled and carried over a fork: files are opened when the first record is read,
    anew in each process.

    Attributes:
      path: the folder.
      name: name of the dataset.
      split: name of the split.
      table: what is known of every clip without decoding it.
      classes: class names for each kind of label that has classes; a label's number is a place in its list.
      annotations: the kinds of labels by their sort.
      tokenizer_path: the SentencePiece model in the folder, or None.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        """Opens a split of a folder that `mmvideo data build` wrote.

        Raises:
          CorpusError: the folder is no complete corpus, or has no such split.
        """
        self.path = Path(path).absolute()
        self.split = split
        record = _read_record(self.path)
        if split not in record["splits"]:
            raise CorpusError(f"{self.path}: has no split '{split}'; it has {', '.join(record['splits'])}")
        self.name: str = record["settings"]["name"]
        self.classes: dict[str, list[str]] = record["classes"]
        self._check_shards(record["shards"])
        self.table: ClipTable = read_table(self.path / f"clips-{split}.parquet")
        self.annotations: Annotations = self.table.annotations
        tokenizer = self.path / TOKENIZER
        self.tokenizer_path: Path | None = tokenizer if tokenizer.is_file() else None
        self._opening = threading.Lock()
        self._source: tuple[int, Any] | None = None

    def _check_shards(self, sizes: dict[str, int]) -> None:
        for name, size in sizes.items():
            path = self.path / name
            if name.startswith(f"{self.name}-{self.split}.") and not (path.is_file() and path.stat().st_size == size):
                what = "has another size than when it was built" if path.is_file() else "is missing"
                raise CorpusError(f"{path}: the shard {what}; copy the folder again or build it anew")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Record:
        """The clip of row `index` of the table.

        Raises:
          IndexError: there is no such row.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: clip {index} of split '{self.split}', which has {len(self)}")
        example = self._records()[index]
        labels, kinds = example.get("labels", {}), self.annotations
        several = {kind: [int(number) for number in labels[kind]] for kind in kinds.several}
        return Record(
            id=example["id"].decode(),
            media=example["media"],
            suffix=example["suffix"].decode(),
            captions=[text.decode() for text in example["captions"]],
            labels={kind: int(labels[kind]) for kind in kinds.single},
            tags=[text.decode() for text in example["tags"]],
            several={kind: None if UNKNOWN in numbers else numbers for kind, numbers in several.items()},
            numbers={kind: float(labels[kind]) for kind in kinds.number},
        )

    def attributes(self, index: int) -> dict[str, Any]:
        """Everything else that the manifest said of a clip; its moments, saliency and events are in there too."""
        return json.loads(self.table.attributes[index])

    def _records(self) -> Any:
        """The TFDS data source of this process."""
        source = self._source
        # A reader's file and threads don't survive a fork.
        if source is None or source[0] != os.getpid():
            with self._opening:
                if self._source is None or self._source[0] != os.getpid():
                    self._source = (os.getpid(), _open(self.path, self.split))
                source = self._source
        return source[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_opening", "_source")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _opening=threading.Lock(), _source=None)

    def __repr__(self) -> str:
        return f"Corpus({str(self.path)!r}, {self.split!r}): {len(self)} clips"


def open_corpus(path: str | Path, split: str) -> Corpus:
    """Opens a split of a corpus.

    Args:
      path: a folder that `mmvideo data build` wrote, or an embedded set: `samples:film` (pictures, sound, captions),
        `samples:animations` (pictures, captions), `samples:sounds` (sound, captions), `samples:all` (the three
        together). An embedded set is built once, into the folder of the environment variable `MMVIDEO_CACHE`
        (`~/.cache/mmvideo` if not set).
      split: such as `train` or `test`.

    Raises:
      CorpusError: it is no complete corpus, or has no such split.
    """
    return Corpus(_folder(path), split)


def splits(path: str | Path) -> dict[str, int]:
    """The splits of a corpus, named as for `open_corpus`, and the clips in each.

    Raises:
      CorpusError: it is no complete corpus.
    """
    return dict(_read_record(_folder(path).absolute())["splits"])


def _folder(path: str | Path) -> Path:
    """The folder of a corpus, that of an embedded set made where it is missing."""
    if not str(path).startswith(SAMPLES):
        return Path(path).expanduser()
    from mmvideo.datasets.samples import cached

    try:
        return cached(str(path).removeprefix(SAMPLES))
    except KeyError as error:
        raise CorpusError(f"{path}: {error.args[0]}") from None


def _read_record(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise CorpusError(f"{path}: there is no such folder; write a corpus with 'mmvideo data build SOURCE {path}'")
    if not (path / COMPLETE).is_file():
        if (path / WORK).is_dir():
            raise CorpusError(f"{path}: the corpus isn't finished; run the same 'mmvideo data build' again to go on")
        raise CorpusError(f"{path}: is no corpus; build one from it with 'mmvideo data build {path} OUT'")
    try:
        return json.loads((path / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusError(f"{path}: is a dataset that mmvideo hasn't built ({RECORD} is missing)") from None
    except json.JSONDecodeError:
        raise CorpusError(f"{path / RECORD}: is damaged; build the corpus anew") from None


def _open(path: Path, split: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(path).as_data_source(split)
