"""Clip table: all properties of a corpus that planning needs, as columns, without decoding."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvideo.datasets.manifests.annotations import Annotations, Saliency

LABEL, SEVERAL, NUMBER = "label/", "labels/", "number/"
"""Prefixes of a label's Parquet column: one class, several classes, a value."""

MOMENTS, STEP, SCORES = "moments", "saliency/step", "saliency/scores"
"""Parquet columns of moments and saliency, present only in a corpus with some."""

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
    """Properties of the `n` clips of a split; row `i` describes record `i`.

    Attributes:
      id: ids, object `[n]`.
      seconds: length of the clip, float64 `[n]`.
      has_video, has_audio: presence of the tracks, bool `[n]`.
      width, height: frame size in pixels, int32 `[n]`; 0 without video.
      fps: frames per second, float64 `[n]`; 0 without video.
      captions: none, one or several texts for each clip.
      labels: class number of each clip for each single-class label type, int32 `[n]`; -1 where it is unknown.
      tags: words for each clip.
      attributes: other properties from the manifest, as the text of a JSON object.
      several: class numbers of each clip for each label type with several classes; None where they are unknown.
      numbers: value of each clip for each numeric label type, float64 `[n]`; NaN where it is unknown.
      moments: stretches `(start, end)` of each clip that its first caption describes, in seconds from its start; None
        where they are unknown. None for all if no clip of the split has any.
      saliency: saliency of the parts of each clip, None as for `moments`.
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
    several: dict[str, list[list[int] | None]] = dataclasses.field(default_factory=dict)
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    moments: list[list[tuple[float, float]] | None] | None = None
    saliency: list[Saliency | None] | None = None

    def __len__(self) -> int:
        return len(self.id)

    @property
    def annotations(self) -> Annotations:
        """The label types by sort."""
        return Annotations(tuple(self.labels), tuple(self.several), tuple(self.numbers))


def table_of(facts: Sequence[Mapping[str, Any]], kinds: Annotations) -> ClipTable:
    """Return the table of clips given one by one, as dicts with the keys of `ClipTable`.

    `labels`, `several` and `numbers` are dicts by label type, with None for an unknown number; `saliency` is the step
    and the scores.
    """

    def timed(name: str, build: Any) -> list | None:
        values = [fact.get(name) for fact in facts]
        # A split in which no clip has moments needs no column for them.
        return None if all(value is None for value in values) else [v if v is None else build(v) for v in values]

    return ClipTable(
        id=np.array([fact["id"] for fact in facts], dtype=object),
        **{name: np.array([fact[name] for fact in facts], dtype=dtype) for name, dtype in _NUMBERS.items()},
        captions=[list(fact["captions"]) for fact in facts],
        labels={kind: np.array([fact["labels"][kind] for fact in facts], dtype=np.int32) for kind in kinds.single},
        tags=[list(fact["tags"]) for fact in facts],
        attributes=[json.dumps(fact["attributes"], ensure_ascii=False) for fact in facts],
        several={kind: [fact["several"][kind] for fact in facts] for kind in kinds.several},
        numbers={kind: np.array([fact["numbers"][kind] for fact in facts], np.float64) for kind in kinds.number},
        moments=timed("moments", _pairs),
        saliency=timed("saliency", lambda pair: Saliency(pair[0], tuple(pair[1]))),
    )


def write_table(table: ClipTable, path: Path) -> None:
    """Write the table as Parquet."""
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
    columns |= {SEVERAL + kind: pa.array(numbers, pa.list_(pa.int32())) for kind, numbers in table.several.items()}
    columns |= {NUMBER + kind: pa.array(numbers) for kind, numbers in table.numbers.items()}
    if table.moments is not None:
        columns[MOMENTS] = pa.array(table.moments, pa.list_(pa.list_(pa.float64())))
    if table.saliency is not None:
        known = [(None, None) if one is None else (one.step, one.scores) for one in table.saliency]
        columns[STEP] = pa.array([step for step, _ in known], pa.float64())
        columns[SCORES] = pa.array([scores for _, scores in known], pa.list_(pa.float64()))
    pq.write_table(pa.table(columns), path, compression="zstd")


def read_table(path: Path) -> ClipTable:
    """Read a table that `write_table` wrote; an older one lacks label types other than single classes."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)

    def column(name: str) -> list:
        return table.column(name).to_pylist()

    def kinds(prefix: str) -> dict[str, str]:
        return {name.removeprefix(prefix): name for name in table.column_names if name.startswith(prefix)}

    moments = saliency = None
    if MOMENTS in table.column_names:
        moments = [None if one is None else _pairs(one) for one in column(MOMENTS)]
    if STEP in table.column_names:
        pairs = zip(column(STEP), column(SCORES), strict=True)
        saliency = [None if step is None else Saliency(step, tuple(scores)) for step, scores in pairs]
    return ClipTable(
        id=np.array(column("id"), dtype=object),
        **{name: table.column(name).to_numpy().astype(dtype) for name, dtype in _NUMBERS.items()},
        captions=column("captions"),
        labels={kind: table.column(name).to_numpy().astype(np.int32) for kind, name in kinds(LABEL).items()},
        tags=column("tags"),
        attributes=column("attributes"),
        several={kind: column(name) for kind, name in kinds(SEVERAL).items()},
        numbers={kind: table.column(name).to_numpy().astype(np.float64) for kind, name in kinds(NUMBER).items()},
        moments=moments,
        saliency=saliency,
    )


def _pairs(moments: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(start, end) for start, end in moments]
