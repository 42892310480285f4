"""Manifest of a checkpoint, beside its arrays: assets as plain files, and digests of everything.

Orbax writes it together with the arrays and commits all by one rename, so a checkpoint has both or does not exist.
`record/digests.json` holds the digest of every array and asset. `written/files.json` holds the size of every file, and
also the digest of a small one; the content of large files is covered by the digests of arrays.
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
"""Folders of the manifest in a checkpoint. Orbax finishes folders in the order of their names, `written` last."""

DIGESTS, FILES = "digests.json", "files.json"

SMALL = 2**20
"""Largest size in bytes of a file that is digested as a whole; larger files are digested as arrays."""

DONE = "commit_success.txt"
"""Orbax's mark of a finished folder."""


class CheckpointError(ValueError):
    """A checkpoint does not exist, or does not fit."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint's bytes differ from the saved ones; the message names the array or file."""


@dataclasses.dataclass(frozen=True)
class ArrayRecord:
    """Shape, dtype and digest of one saved array."""

    shape: tuple[int, ...]
    dtype: str
    digest: str


class RecordHandler(ocp.CheckpointHandler):
    """Handler that writes a dict of files from one process; `read_record` reads them without Orbax."""

    def save(self, directory: Any, args: RecordSave) -> None:
        """Write every file of the record."""
        if jax.process_index() == 0:
            for name, content in args.files.items():
                (directory / name).write_bytes(content)

    def restore(self, directory: Any, args: Any = None) -> dict[str, bytes]:
        """Read every file of the record."""
        return {path.name: path.read_bytes() for path in directory.iterdir()}


@ocp.args.register_with_handler(RecordHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class RecordSave(ocp.args.CheckpointArgs):
    """Files of a record by name; Orbax requires one type of arguments for saving and restoring."""

    files: dict[str, bytes] = dataclasses.field(default_factory=dict)


class FilesHandler(ocp.CheckpointHandler):
    """Handler that lists the files in the other folders of a checkpoint; `check_files` compares them."""

    def save(self, directory: Any, args: FilesSave) -> None:
        """Write nothing yet, because the other handlers are still writing."""

    def finalize(self, directory: Any) -> None:
        """Write the list of files; Orbax calls this in one process, after all writes and before the commit."""
        (directory / FILES).write_bytes(_sealed({"files": _files(Path(str(directory)).parent)}))

    def restore(self, directory: Any, args: Any = None) -> None:
        """Read nothing: `check_files` reads the list without Orbax."""


@ocp.args.register_with_handler(FilesHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class FilesSave(ocp.args.CheckpointArgs):
    """Request to write the list of files."""


def make_record(arrays: Mapping[str, ArrayRecord], assets: Mapping[str, bytes]) -> RecordSave:
    """Return the files of a record: the assets, and the digests of arrays and assets.

    Raises:
      ValueError: the name of an asset is not a plain file name.
    """
    for name in assets:
        if Path(name).name != name or name in (DIGESTS, "", ".", ".."):
            raise ValueError(f"asset '{name}' must have a plain file name other than {DIGESTS}")
    # Separate digests of arrays and assets, so that an error names the damaged one.
    content = {
        "arrays": {name: dataclasses.asdict(array) for name, array in arrays.items()},
        "assets": {name: hashlib.sha256(data).hexdigest() for name, data in assets.items()},
    }
    return RecordSave({**assets, DIGESTS: _sealed(content)})


def read_record(folder: Path) -> tuple[dict[str, ArrayRecord], dict[str, bytes]]:
    """Return the records of the arrays and the assets, after checking every byte of them.

    Raises:
      DamagedCheckpoint: a file is missing or differs from the saved one.
    """
    content = _opened(folder / DIGESTS)
    # A manifest from elsewhere must not make the program read `../../secret`.
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
    """Compare the files of one part of a checkpoint, and of its record, with the list written before its commit.

    Args:
      folder: folder of the checkpoint; one without a list passes.
      part: folder in the checkpoint.

    Raises:
      DamagedCheckpoint: a file is missing or differs from the saved one.
    """
    if not (folder / WRITTEN / FILES).exists():
        return
    for name, (size, digest) in _opened(folder / WRITTEN / FILES)["files"].items():
        if not _is_inside(name):
            raise DamagedCheckpoint(f"{folder / WRITTEN / FILES} names {name!r}, which is no file of this folder")
        path = folder / name
        # Parts are restored separately: damage in `ema` must not prevent a restore of `params`.
        if name.split("/")[0] not in (part, RECORD):
            continue
        if not path.is_file():
            raise DamagedCheckpoint(f"{path} is missing")
        if path.stat().st_size != size or (digest is not None and _digest(path) != digest):
            raise DamagedCheckpoint(f"{path} is damaged")


def _files(folder: Path) -> dict[str, tuple[int, str | None]]:
    """Return the size and digest of every file in the finished folders of a checkpoint, by relative path."""
    # The folder `written` is not finished yet, so the list never includes itself.
    done = [part for part in sorted(folder.iterdir()) if (part / DONE).is_file()]
    found = {path: path.stat().st_size for part in done for path in sorted(part.rglob("*")) if path.is_file()}
    return {
        str(path.relative_to(folder)): (size, _digest(path) if size <= SMALL else None) for path, size in found.items()
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sealed(content: Mapping[str, Any]) -> bytes:
    """Return JSON that includes its own digest."""
    return json.dumps(seal(content), indent=1).encode()


def _opened(path: Path) -> dict[str, Any]:
    """Return the content that `_sealed` wrote.

    Raises:
      DamagedCheckpoint: the file is missing or differs from the saved one.
    """
    try:
        return unseal(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path} is missing") from None
    except DamagedRecord as error:
        raise DamagedCheckpoint(str(error)) from None


def _is_inside(name: object) -> bool:
    """Return whether a name from a file stays within its folder: `record/spec.json` does, `../x` does not."""
    return isinstance(name, str) and bool(name) and not name.startswith("/") and ".." not in name.split("/")
