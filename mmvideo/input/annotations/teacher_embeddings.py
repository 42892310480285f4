"""Teacher embeddings: another model's vectors of clips, by group of modalities, in one .npz file.

The file holds `ids` `[n]` and one float array `[n, d]` for every group (`video`, `video+audio`). A row of NaN is a clip
that lacks the group. `mmvideo predict embed` writes the file, and `Input.embeddings` names it for distillation.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int

from mmvideo.input.annotations.npz_header import OversizedArray, check_sizes
from mmvideo.records.whole import draft_of

_LOG = logging.getLogger(__name__)

IDS = "ids"
"""Name of the array of ids in the file."""


@dataclasses.dataclass(frozen=True)
class TeacherEmbeddings:
    """The vectors of the clips of a mixture.

    Attributes:
      row: row of every clip in `groups`, -1 where the file lacks the clip.
      groups: vectors by group.
    """

    row: Int[np.ndarray, " n"]
    groups: dict[str, Float32[np.ndarray, "r _"]]

    @property
    def widths(self) -> dict[str, int]:
        """Length of a vector of each group."""
        return {group: vectors.shape[1] for group, vectors in self.groups.items()}

    def of(self, group: str, clip: int) -> Float32[np.ndarray, " d"]:
        """Return the vector of one clip; NaN where it is unknown."""
        row, vectors = int(self.row[clip]), self.groups[group]
        return vectors[row] if row >= 0 else np.full(vectors.shape[1], np.nan, np.float32)


def write_teacher_embeddings(
    path: str | Path, ids: Sequence[str], groups: Mapping[str, Float[np.ndarray, "n _"]]
) -> None:
    """Write the file, completely or not at all.

    Raises:
      ValueError: an id occurs twice.
    """
    _once(path, ids)
    path = Path(path)
    arrays = {group: np.asarray(vectors, np.float32) for group, vectors in groups.items()}
    with draft_of(path, ".npz") as draft:
        np.savez(draft, **{IDS: np.asarray(ids, np.str_)}, **arrays)


def read_teacher_embeddings(path: str | Path) -> tuple[list[str], dict[str, Float32[np.ndarray, "n _"]]]:
    """Return ids and vectors by group.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is not of this format, or an id occurs twice.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"input.embeddings: no file {path}; write it with: mmvideo predict embed")
    try:
        check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        ids = arrays.pop(IDS).tolist()
    except OversizedArray as error:
        raise ValueError(f"input.embeddings: {error}") from None
    except MemoryError:
        raise ValueError(f"input.embeddings: {path} holds more than this machine's memory takes") from None
    # zipfile, zlib and NumPy raise many types of errors on damaged bytes.
    except Exception as error:
        told = str(error).split("\n")[0][:200] or type(error).__name__
        raise ValueError(
            f"input.embeddings: {path} is no file that mmvideo predict embed wrote, or is damaged ({told})"
        ) from None
    for group, vectors in arrays.items():
        if vectors.ndim != 2 or len(vectors) != len(ids) or vectors.dtype.kind != "f":
            raise ValueError(
                f"input.embeddings: {path} holds {vectors.dtype} {group!r} {list(vectors.shape)}, where a vector for "
                f"each of {len(ids)} clips should be"
            )
    if not arrays or not ids:
        raise ValueError(f"input.embeddings: {path} holds no vectors")
    _once(path, ids)
    return ids, {group: vectors.astype(np.float32) for group, vectors in arrays.items()}


def match_teacher_embeddings(path: str | Path, clips: Sequence[str], required: bool) -> TeacherEmbeddings:
    """Return the vectors of the clips with these ids, in their order; log the number of missing clips.

    Args:
      path: the file.
      clips: ids.
      required: whether a file without any of the clips is an error.

    Raises:
      ValueError: see `required`; and the errors of `read_teacher_embeddings`.
    """
    ids, groups = read_teacher_embeddings(path)
    place = {clip: row for row, clip in enumerate(ids)}
    row = np.array([place.get(clip, -1) for clip in clips], np.int64)
    # A training run with no match at all is a mistake of the path; an evaluation may lack embeddings.
    missing = np.flatnonzero(row < 0)
    if len(missing) == len(clips) and required:
        raise ValueError(
            f"input.embeddings: {path} knows none of the {len(clips)} clips (it holds {ids[0]!r}, they are "
            f"{clips[0]!r} and so on); write it from the same corpora with: mmvideo predict embed"
        )
    if len(missing):
        _LOG.warning(
            "%s knows nothing of %d of %d clips, such as %s", path, len(missing), len(clips), clips[int(missing[0])]
        )
    return TeacherEmbeddings(row, groups)


def _once(path: str | Path, ids: Sequence[str]) -> None:
    names, counts = np.unique(np.asarray(ids, np.str_), return_counts=True)
    if (counts > 1).any():
        twice = names[counts.argmax()]
        raise ValueError(f"{path}: the clip {str(twice)!r} comes twice; ids must differ over all corpora of the file")
