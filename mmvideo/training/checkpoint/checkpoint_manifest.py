"""What lies beside the arrays of a checkpoint: assets as plain files, and digests of everything.

Orbax writes these together with the arrays and commits all by one rename, so a checkpoint either has both or
does not exist. `record/digests.json` tells what every array and asset must be. `written/files.json` tells what
every file must be: one small enough to be read in no time by its digest, a large one, which holds numbers of
arrays, by its size alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from mmvideo.records.sealed import DamagedRecord, seal, unseal

RECORD, WRITTEN = "record", "written"
"""Their folders within a checkpoint. Orbax finishes the folders in the order of their names, `written` as the last."""

DIGESTS, FILES = "digests.json", "files.json"

SMALL = 2**20
"""Bytes up to which a file is digested as a whole. What larger ones hold is digested as arrays."""

DONE = "commit_success.txt"
"""Orbax's mark of a finished folder."""


class CheckpointError(ValueError):
    """A checkpoint isn't there, or doesn't fit."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint's bytes are not those that were saved: which array or file."""


@dataclasses.dataclass(frozen=True)
class ArrayRecord:
    """Shape, dtype and digest of one saved array."""

    shape: tuple[int, ...]
    dtype: str
    digest: str


class RecordHandler(ocp.CheckpointHandler):
    """Writes a dict of files, from one process; `read_record` reads it without Orbax."""

    def save(self, directory: Any, args: RecordSave) -> None:
        """Writes every file of the record."""
        if jax.process_index() == 0:
            for name, content in args.files.items():
                (directory / name).write_bytes(content)

    def restore(self, directory: Any, args: Any = None) -> dict[str, bytes]:
        """Reads every file of the record."""
        return {path.name: path.read_bytes() for path in directory.iterdir()}


@ocp.args.register_with_handler(RecordHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class RecordSave(ocp.args.CheckpointArgs):
    """The files of a record by name; Orbax wants one kind of arguments for both directions."""

    files: dict[str, bytes] = dataclasses.field(default_factory=dict)


class FilesHandler(ocp.CheckpointHandler):
    """Writes down what files the other folders of a checkpoint have; `check_files` compares them."""

    def save(self, directory: Any, args: FilesSave) -> None:
        """Nothing yet: the others are still writing."""

    def finalize(self, directory: Any) -> None:
        """Orbax calls this in one process, when all have written, before the commit."""
        (directory / FILES).write_bytes(_sealed({"files": _files(Path(str(directory)).parent)}))

    def restore(self, directory: Any, args: Any = None) -> None:
        """Nothing: `check_files` reads it without Orbax."""


@ocp.args.register_with_handler(FilesHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class FilesSave(ocp.args.CheckpointArgs):
    """Says that the files be written down."""


def make_record(arrays: Mapping[str, ArrayRecord], assets: Mapping[str, bytes]) -> RecordSave:
    """The files of a record: the assets, and the digests of the arrays and of the assets.

    Raises:
      ValueError: an asset whose name is not a plain file name.
    """
    for name in assets:
        if Path(name).name != name or name in (DIGESTS, "", ".", ".."):
            raise ValueError(f"asset '{name}' must have a plain file name other than {DIGESTS}")
    content = {
        "arrays": {name: dataclasses.asdict(array) for name, array in arrays.items()},
        "assets": {name: hashlib.sha256(data).hexdigest() for name, data in assets.items()},
    }
    return RecordSave({**assets, DIGESTS: _sealed(content)})


def read_record(folder: Path) -> tuple[dict[str, ArrayRecord], dict[str, bytes]]:
    """The arrays' records and the assets, every byte of them checked.

    Raises:
      DamagedCheckpoint: a file is missing or is not what was saved.
    """
    content = _opened(folder / DIGESTS)
    outside = [name for name in content["assets"] if not _is_inside(name) or Path(name).name != name]
    if outside:
        raise DamagedCheckpoint(f"{folder / DIGESTS} names {outside[0]!r}, which is no file of this folder")
    try:
        assets = {name: (folder / name).read_bytes() for name in content["assets"]}
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{error.filename} is missing") from None
    for name, data in assets.items():
        if hashlib.sha256(data).hexdigest() != content["assets"][name]:
            raise DamagedCheckpoint(f"{folder / name} is damaged")
    arrays = {
        name: ArrayRecord(tuple(item["shape"]), item["dtype"], item["digest"])
        for name, item in content["arrays"].items()
    }
    return arrays, assets


def check_files(folder: Path, part: str) -> None:
    """Compares the files of one part of a checkpoint, and of its record, with what was written down before its commit.

    Args:
      folder: of the checkpoint; one in which they were not written down passes.
      part: the folder in it.

    Raises:
      DamagedCheckpoint: a file is missing, or is not what was saved.
    """
    if not (folder / WRITTEN / FILES).exists():
        return
    for name, (size, digest) in _opened(folder / WRITTEN / FILES)["files"].items():
        if not _is_inside(name):
            raise DamagedCheckpoint(f"{folder / WRITTEN / FILES} names {name!r}, which is no file of this folder")
        path = folder / name
        if name.split("/")[0] not in (part, RECORD):
            continue
        if not path.is_file():
            raise DamagedCheckpoint(f"{path} is missing")
        if path.stat().st_size != size or (digest is not None and _digest(path) != digest):
            raise DamagedCheckpoint(f"{path} is damaged")


def _files(folder: Path) -> dict[str, tuple[int, str | None]]:
    """Size and digest of every file in the finished folders of a checkpoint, by its path there."""
    done = [part for part in sorted(folder.iterdir()) if (part / DONE).is_file()]
    found = {path: path.stat().st_size for part in done for path in sorted(part.rglob("*")) if path.is_file()}
    return {
        str(path.relative_to(folder)): (size, _digest(path) if size <= SMALL else None) for path, size in found.items()
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sealed(content: Mapping[str, Any]) -> bytes:
    """JSON that tells its own digest."""
    return json.dumps(seal(content), indent=1).encode()


def _opened(path: Path) -> dict[str, Any]:
    """What `_sealed` wrote.

    Raises:
      DamagedCheckpoint: the file is missing, or is not what was saved.
    """
    try:
        return unseal(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path} is missing") from None
    except DamagedRecord as error:
        raise DamagedCheckpoint(str(error)) from None


def _is_inside(name: object) -> bool:
    """Whether a name from a file stays within the folder that it is looked for in: `record/spec.json`, not `../x`."""
    return isinstance(name, str) and bool(name) and not name.startswith("/") and ".." not in name.split("/")
