"""What lies beside the arrays of a checkpoint: assets as plain files, and digests of everything.

Orbax writes a record together with the arrays and commits both by one rename, so a checkpoint
either has both or does not exist.
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

DIGESTS = "digests.json"


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
    sealed = {"sha256": _seal(content), **content}
    return RecordSave({**assets, DIGESTS: json.dumps(sealed, indent=1).encode()})


def read_record(folder: Path) -> tuple[dict[str, ArrayRecord], dict[str, bytes]]:
    """The arrays' records and the assets, every byte of them checked.

    Raises:
      DamagedCheckpoint: a file is missing or is not what was saved.
    """
    try:
        content = json.loads((folder / DIGESTS).read_bytes())
        seal = content.pop("sha256")
        assets = {name: (folder / name).read_bytes() for name in content["assets"]}
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{error.filename} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedCheckpoint(f"{folder / DIGESTS} is damaged") from None
    if seal != _seal(content):
        raise DamagedCheckpoint(f"{folder / DIGESTS} is damaged")
    for name, data in assets.items():
        if hashlib.sha256(data).hexdigest() != content["assets"][name]:
            raise DamagedCheckpoint(f"{folder / name} is damaged")
    arrays = {
        name: ArrayRecord(tuple(item["shape"]), item["dtype"], item["digest"])
        for name, item in content["arrays"].items()
    }
    return arrays, assets


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
