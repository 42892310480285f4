"""A split of a corpus, with random access and without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

from mmvideo.datasets.build import COMPLETE, LAYOUT, RECORD, TOKENIZER, WORK
from mmvideo.datasets.clip_table import ClipTable, read_table
from mmvideo.datasets.digests import DIGESTS, TABLE, DigestError, Digests, check_files, digests_now, read_digests
from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.datasets.manifests.surrogates import spelled_out
from mmvideo.datasets.records import Example

SAMPLES = "samples:"
"""Prefix of the name of an embedded set."""


AGAIN = "copy the folder again or build the corpus anew"
"""Remedy for a damaged corpus."""

_LOG = logging.getLogger(__name__)

_TOLD: set[Path] = set()
"""Corpora of an older layout that this process has already reported."""


class CorpusError(ValueError):
    """A folder is no corpus, differs from what was built, or lacks the split; the message has the cause and the
    remedy."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One clip.

    Attributes:
      id: its id in the corpus.
      media: the encoded file.
      suffix: suffix of the file's name, such as `.mp4`.
      captions: none, one or several texts.
      labels: class number for each single-class label type, -1 where it is unknown.
      tags: words that describe the content.
      several: class numbers for each label type with several classes, None where they are unknown.
      numbers: value for each numeric label type, NaN where it is unknown.
      pictures: arguments of `decode` for the display of frames, see `Corpus`.
    """

    id: str
    media: bytes
    suffix: str
    captions: list[str]
    labels: dict[str, int]
    tags: list[str]
    several: dict[str, list[int] | None] = dataclasses.field(default_factory=dict)
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    pictures: dict[str, bool] = dataclasses.field(default_factory=dict)


class Corpus:
    """The clips of one split.

    Threads may share it. It can be pickled and used after a fork: files are opened when the first record is read,
    separately in each process.

    Attributes:
      path: the folder.
      name: name of the dataset.
      split: name of the split.
      table: properties of every clip, known without decoding.
      classes: class names for each label type that has classes; a class number is an index into its list.
      annotations: the label types by sort.
      tokenizer_path: the SentencePiece model in the folder, or None.
      digest: digest of the corpus, all splits: 64 hexadecimal digits (see `digests`).
      pictures: whether to deinterlace (`deinterlace`) and to tone-map (`tone_map`), as set in the build.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        """Open a split of a folder that `mmvideo data build` wrote.

        Raises:
          CorpusError: the folder is no complete corpus, lacks the split, or a file of it differs from what was built.
        """
        self.path = Path(path).absolute()
        self.split = split
        record, digests = _read_record(self.path, f"{TABLE}{split}.parquet")
        self.digest: str = _digest(record, digests)
        if split not in record["splits"]:
            raise CorpusError(f"{self.path}: has no split '{split}'; it has {', '.join(record['splits'])}")
        self.name: str = record["settings"]["name"]
        self.classes: dict[str, list[str]] = record["classes"]
        self.pictures: dict[str, bool] = record.get("pictures", {})
        self._check_shards(record["shards"])
        self.table: ClipTable = self._read_table(record["splits"][split])
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
                raise CorpusError(f"{path}: the shard {what}; {AGAIN}")

    def _read_table(self, clips: int) -> ClipTable:
        path = self.path / f"{TABLE}{self.split}.parquet"
        try:
            table = read_table(path)
        # Arrow raises many types of errors on damaged files.
        except Exception as error:
            raise CorpusError(f"{path}: can't be read ({_told(error)}); {AGAIN}") from error
        if len(table) != clips:
            raise CorpusError(f"{path}: has {len(table)} clips, and {RECORD} says {clips}; {AGAIN}")
        return table

    def open_records(self) -> None:
        """Open the shards now, instead of when the first record is read.

        Raises:
          CorpusError: TFDS cannot open them, or their number of clips differs from the table's.
        """
        try:
            there = len(self._records())
        except Exception as error:
            raise CorpusError(
                f"{self.path}: the shards of '{self.split}' can't be opened ({_told(error)}); {AGAIN}"
            ) from error
        if there != len(self):
            raise CorpusError(
                f"{self.path}: the shards of '{self.split}' hold {there} clips, their table {len(self)}; {AGAIN}"
            )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Record:
        """Return the clip of row `index` of the table.

        Raises:
          IndexError: there is no such row.
          CorpusError: the record cannot be read, or is that of another clip.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: clip {index} of split '{self.split}', which has {len(self)}")
        try:
            record = self._parsed(Example(self._records()[index]))
        # ArrayRecord, TFDS and protocol buffers raise nearly anything where a shard or its description is damaged.
        except Exception as error:
            raise CorpusError(
                f"{self.path}: record {index} of '{self.split}' can't be read ({_told(error)})"
            ) from error
        # Shards and table are separate files: an exchanged shard has the right size but other clips.
        if record.id != self.table.id[index]:
            told = f"is '{record.id}', in the clip table '{self.table.id[index]}'"
            raise CorpusError(f"{self.path}: record {index} of '{self.split}' {told}; {AGAIN}")
        return record

    def _parsed(self, example: Example) -> Record:
        return Record(
            id=example.text("id"),
            media=example.one("media"),
            suffix=example.text("suffix"),
            captions=example.texts("captions"),
            labels={kind: int(example.one(f"labels/{kind}")) for kind in self.annotations.single},
            tags=example.texts("tags"),
            several={kind: example.classes(f"labels/{kind}") for kind in self.annotations.several},
            numbers={kind: float(example.one(f"labels/{kind}")) for kind in self.annotations.number},
            pictures=self.pictures,
        )

    def attributes(self, index: int) -> dict[str, Any]:
        """Return all other manifest entries of a clip, including its moments, saliency and events."""
        return json.loads(self.table.attributes[index])

    def _records(self) -> Any:
        """Return the TFDS data source of this process."""
        source = self._source
        # A reader's file and threads don't survive a fork.
        if source is None or source[0] != os.getpid():
            with self._opening:
                if self._source is None or self._source[0] != os.getpid():
                    # Checked again inside the lock: another thread may have opened the source meanwhile.
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
    """Open a split of a corpus.

    Args:
      path: a folder that `mmvideo data build` wrote, or an embedded set: `samples:film` (video, audio, captions),
        `samples:animations` (video, captions), `samples:sounds` (audio, captions), `samples:all` (the three
        together). An embedded set is built once, into the folder of the environment variable `MMVIDEO_CACHE`
        (`~/.cache/mmvideo` if not set).
      split: name of a split, such as `train` or `test`.

    Raises:
      CorpusError: it is no complete corpus, or lacks the split.
    """
    return Corpus(_folder(path), split)


def splits(path: str | Path) -> dict[str, int]:
    """Return the splits of a corpus, named as for `open_corpus`, with their number of clips.

    Raises:
      CorpusError: it is no complete corpus.
    """
    return dict(_read_record(_folder(path).absolute())[0]["splits"])


def digest(path: str | Path) -> str:
    """Return the digest of a corpus, named as for `open_corpus`: 64 hexadecimal digits, the same for the same clips.

    Raises:
      CorpusError: it is no complete corpus, or a file of it differs from what was built.
    """
    return _digest(*_read_record(_folder(path).absolute()))


def _digest(record: dict[str, Any], digests: Digests) -> str:
    """Return the digest of the clips and, if the build recorded them, of the display settings."""
    if "pictures" not in record:
        return digests.corpus
    return hashlib.sha256(json.dumps([digests.corpus, record["pictures"]], sort_keys=True).encode()).hexdigest()


def _folder(path: str | Path) -> Path:
    """Return the folder of a corpus; an embedded set is built if it is missing."""
    if not str(path).startswith(SAMPLES):
        return Path(path).expanduser()
    from mmvideo.datasets.samples import cached

    try:
        return cached(str(path).removeprefix(SAMPLES))
    except KeyError as error:
        raise CorpusError(f"{path}: {error.args[0]}") from None


def _read_record(path: Path, *tables: str) -> tuple[dict[str, Any], Digests]:
    """Return the record and the digests of a corpus, after comparing its small files with the digests.

    Of the clip tables, which may be large, only `tables` are compared.
    """
    if spelled_out(str(path)) != str(path):
        raise CorpusError(f"{spelled_out(str(path))}: its name isn't UTF-8, which TFDS can't read; rename the folder")
    if not path.is_dir():
        raise CorpusError(f"{path}: there is no such folder; write a corpus with 'mmvideo data build SOURCE {path}'")
    if not (path / COMPLETE).is_file():
        if (path / WORK).is_dir():
            raise CorpusError(f"{path}: the corpus isn't finished; run the same 'mmvideo data build' again to go on")
        raise CorpusError(f"{path}: is no corpus; build one from it with 'mmvideo data build {path} OUT'")
    try:
        digests = read_digests(path)
        if digests is not None:
            # A run that opens `train` need not read the large table of `test`.
            unread = {name for name in digests.files if name.startswith(TABLE) and name not in tables}
            check_files(path, digests, without=unread)
    except DigestError as error:
        raise CorpusError(f"{error}; {AGAIN}") from None
    record = _parsed_record(path)
    _check_layout(path, record)
    if digests is None:
        if record.get("digests"):
            raise CorpusError(f"{path / DIGESTS}: is missing; {AGAIN}")
        _LOG.warning("%s: was built before corpora kept digests; damage to it isn't noticed until it is rebuilt", path)
        digests = digests_now(path, record["shards"])
    return record, digests


def _check_layout(path: Path, record: dict[str, Any]) -> None:
    """Refuse a corpus of a newer layout, and warn of the known faults of an older one."""
    layout = record.get("layout")
    if not isinstance(layout, int):
        raise CorpusError(f"{path / RECORD}: is damaged (its layout is {layout!r}, and no number); {AGAIN}")
    if layout > LAYOUT:
        raise CorpusError(f"{path}: has layout {layout}, and this mmvideo reads up to {LAYOUT}; update mmvideo")
    # One warning for each corpus and process, although train and evaluation open it several times.
    if layout < LAYOUT and path not in _TOLD:
        _TOLD.add(path)
        _LOG.warning(
            "%s: was built by an older mmvideo (layout %d, now %d): colours of its transcoded clips, times of its cuts "
            "and lengths of mp3 and aac may be wrong; build it anew",
            path,
            layout,
            LAYOUT,
        )


def _parsed_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / RECORD).read_bytes())
    except FileNotFoundError:
        raise CorpusError(f"{path}: is a dataset that mmvideo hasn't built ({RECORD} is missing)") from None
    except ValueError as error:
        raise CorpusError(f"{path / RECORD}: is damaged ({_told(error)}); {AGAIN}") from None
    wanted, held = ("settings", "splits", "classes", "shards"), record if isinstance(record, dict) else {}
    lacking = [name for name in wanted if not isinstance(held.get(name), dict)]
    if lacking:
        raise CorpusError(f"{path / RECORD}: is damaged (no '{lacking[0]}' in it); {AGAIN}")
    return record


def _told(error: Exception) -> str:
    """Return an error's text on one line."""
    words = " ".join(str(error).split())[:200] or "no more is told"
    return words if isinstance(error, ValueError) else f"{type(error).__name__}: {words}"


def _open(path: Path, split: str) -> Any:
    import tensorflow_datasets as tfds

    # The bytes of records: TFDS takes 20 times as long as `Example` to make a dict of them.
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return tfds.builder_from_directory(path).as_data_source(split, deserialize_method=raw)
