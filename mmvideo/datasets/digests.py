"""Digests of the files of a corpus, written by the build and compared when it is opened.

`digests.json` holds the SHA-256 of every file beside it. Shards are too large to be read at every opening: their size
is compared then, and ArrayRecord checks each record that is read. All other files are read and compared. `digests.json`
also holds its own digest, so that a changed byte in it is not blamed on another file.

The digest of a corpus is that of its clips: shards, clip tables, class names and tokenizer. Two builds of the same
clips with the same versions of the libraries have the same digest, in any folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

DIGESTS = "digests.json"

AROUND = ("build.json", "skipped.jsonl", "dataset_info.json", "LICEN")
"""Prefixes of the names of files outside a corpus's digest: they hold paths, times and skipped clips."""

TABLE = "clips-"
"""Prefix of the names of the clip tables, one for each split."""


class DigestError(ValueError):
    """A file of a corpus differs from what was built; the message has its name and both digests."""


@dataclasses.dataclass(frozen=True)
class Digests:
    """SHA-256 of files by their name, in hexadecimal digits.

    Attributes:
      files: everything but the shards.
      shards: the shards.
    """

    files: dict[str, str]
    shards: dict[str, str]

    @property
    def corpus(self) -> str:
        """The digest of the corpus: 64 hexadecimal digits."""
        inner = {name: digest for name, digest in self.files.items() if not name.startswith(AROUND)}
        return _of_json({"files": inner, "shards": self.shards})


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(folder: Path, shards: Mapping[str, str]) -> None:
    """Write `digests.json` with all files of a folder, and with the shards, which may be elsewhere."""
    files = {path.name: digest_of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    found = {"files": files, "shards": dict(sorted(shards.items()))}
    text = json.dumps(found | {"self": _of_json(found)}, indent=1)
    (folder / DIGESTS).write_text(text + "\n", encoding="utf-8")


def read_digests(folder: Path) -> Digests | None:
    """Return the digests of a corpus; None for a corpus built before they existed.

    Raises:
      DigestError: `digests.json` differs from what was written.
    """
    path = folder / DIGESTS
    try:
        found = json.loads(path.read_bytes())
        told = found.pop("self")
        digests = Digests(**found)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DigestError(f"{path}: is damaged ({error})") from None
    # The file's own digest is checked first, so that no other file is blamed for its damage.
    if (now := _of_json(found)) != told:
        raise DigestError(f"{path}: is damaged: its entries have the digest {now[:16]}…, not {told[:16]}…")
    return digests


def check_files(folder: Path, digests: Digests, without: Iterable[str] = ()) -> None:
    """Compare the existing files with their digests; shards are not read.

    Raises:
      DigestError: a file is missing or differs from what was built.
    """
    for name, told in digests.files.items():
        if name in without:
            continue
        try:
            now = digest_of(folder / name)
        except FileNotFoundError:
            raise DigestError(f"{folder / name}: is missing") from None
        if now != told:
            raise DigestError(
                f"{folder / name}: isn't what was built: its SHA-256 is {now[:16]}…, and was {told[:16]}…"
            )


def digests_now(folder: Path, sizes: Mapping[str, int]) -> Digests:
    """Return digests for a corpus built before they existed: of its present files, and of its shards' sizes."""
    files = {
        path.name: digest_of(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name not in sizes
    }
    return Digests(files, {name: str(size) for name, size in sorted(sizes.items())})


def _of_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
