"""The clip table: all that a planner must know of a corpus, as columns, without decoding anything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LABEL = "label/"
"""Before the kind of a label in the name of its Parquet column."""

_NUMBERS = {
    "seconds": np.float64,
    "has_video": np.bool_,
    "has_audio": np.bool_,
    "width": np.int32,
    "height": np.int32,
    "fps": np.float64,
}


@dataclasses.dataclass(frozen=True)
class ClipTable:
    """What is known of the `n` clips of a split, row `i` for record `i`.

    Attributes:
      id: texts, object `[n]`.
      seconds: length of the clip, float64 `[n]`.
      has_video, has_audio: which tracks it has, bool `[n]`.
      width, height: pixels of its picture, int32 `[n]`; 0 without one.
      fps: frames a second, float64 `[n]`; 0 without a picture.
      captions: none, one or several texts a clip.
      labels: class number for each kind of label, int32 `[n]`; -1 where it is unknown.
      tags: words a clip.
      attributes: what else the manifest said of the clip, as the text of a JSON object.
    """

    id: np.ndarray
    seconds: np.ndarray
    has_video: np.ndarray
    has_audio: np.ndarray
    width: np.ndarray
    height: np.ndarray
    fps: np.ndarray
    captions: list[list[str]]
    labels: dict[str, np.ndarray]
    tags: list[list[str]]
    attributes: list[str]

    def __len__(self) -> int:
        return len(self.id)


def table_of(facts: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> ClipTable:
    """The table of clips given one by one, with the keys of `ClipTable` and `labels` as a dict of numbers."""
    return ClipTable(
        id=np.array([fact["id"] for fact in facts], dtype=object),
        **{name: np.array([fact[name] for fact in facts], dtype=dtype) for name, dtype in _NUMBERS.items()},
        captions=[list(fact["captions"]) for fact in facts],
        labels={kind: np.array([fact["labels"][kind] for fact in facts], dtype=np.int32) for kind in kinds},
        tags=[list(fact["tags"]) for fact in facts],
        attributes=[json.dumps(fact["attributes"], ensure_ascii=False) for fact in facts],
    )


def write_table(table: ClipTable, path: Path) -> None:
    """Writes the table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.list_(pa.string())
    columns = {"id": pa.array(table.id, pa.string())}
    columns |= {name: pa.array(getattr(table, name)) for name in _NUMBERS}
    columns |= {LABEL + kind: pa.array(numbers) for kind, numbers in table.labels.items()}
    columns |= {
        "captions": pa.array(table.captions, texts),
        "tags": pa.array(table.tags, texts),
        "attributes": pa.array(table.attributes, pa.string()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def read_table(path: Path) -> ClipTable:
    """Reads a table that `write_table` wrote."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)

    def column(name: str) -> list:
        return table.column(name).to_pylist()

    return ClipTable(
        id=np.array(column("id"), dtype=object),
        **{name: table.column(name).to_numpy().astype(dtype) for name, dtype in _NUMBERS.items()},
        captions=column("captions"),
        labels={
            name.removeprefix(LABEL): table.column(name).to_numpy().astype(np.int32)
            for name in table.column_names
            if name.startswith(LABEL)
        },
        tags=column("tags"),
        attributes=column("attributes"),
    )
